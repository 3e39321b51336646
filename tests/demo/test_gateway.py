"""The gateway without a browser: photographs, frames, and who may ask."""

import asyncio
import contextlib
import json
import select
import ssl
import struct
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from socket import create_connection
from urllib.parse import urlsplit

import cv2
import numpy as np
import onnxruntime
import pytest
import websockets
from demo_command import PATIENCE_S, running
from drawn_model import (
    HEIGHT,
    RECORD,
    SIGNS,
    WIDTH,
    frame,
    jpeg,
    make_artifacts,
    points,
)

from data_prep.errors import InputError
from demo import serve
from demo.connections import MOST
from demo.gateway import AT_ONCE, MAX_CONNECTIONS, WAITING
from pipelines.repository import versions
from pipelines.serving.remote_credentials import certify
from training.infer import infer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(triton):
    """Most of the time here goes into waiting until its patience ends."""
    with running(triton, hurried=True) as (address, _):
        yield address


def ask(address, path="/", data=None, **headers):
    """Return status and body."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(address + path, data, names)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def test_a_photograph_is_answered_as_json(demo):
    status, body, _ = ask(demo, "/predict", jpeg("L"), Content_Type="image/jpeg")

    found = json.loads(body)
    assert status == 200
    assert found["predicted_class"] == "L"
    assert found["confidence"] == max(found["all_predictions"].values()) > 0.6
    assert tuple(found["all_predictions"]) == SIGNS
    assert found["model"] == {"name": "asl", "version": "1"}


def test_the_points_of_the_hand_lie_where_they_were_drawn(demo):
    found = json.loads(ask(demo, "/predict", jpeg("L"))[1])
    assert found["hand"] > 0.6 and found["handedness"] > 0.9
    assert np.array(found["landmarks"]).shape == (21, 3)
    away = np.abs(np.array(found["landmarks"])[:, :2] - points("L"))
    assert away.max() < 0.02 + (1 - found["confidence"])  # the mean over all signs
    empty = json.loads(ask(demo, "/predict", jpeg("nothing"))[1])
    assert empty["hand"] < 0.5 and empty["landmarks"] is None


@pytest.mark.parametrize("width, height", [(640, 480), (480, 640)])
def test_of_an_oblong_photograph_all_say_what_infer_and_the_graph_say(
    width, height, demo, artifacts, tmp_path
):
    """The points in shares of its own sides, wherever its letterboxed copy has them."""
    photograph = oblong("L", width, height)
    (tmp_path / "oblong.png").write_bytes(photograph)
    (letters,) = infer(artifacts, [str(tmp_path / "oblong.png")], "onnx")
    session = onnxruntime.InferenceSession(artifacts / "model.onnx")
    pixels = RECORD.apply(photograph)[None]
    (points,) = session.run(["landmarks"], {"image": pixels})[0]
    sides, size = np.array([width, height]), RECORD.image_size
    cut = np.round(RECORD.border_crop * sides)
    kept = sides - 2 * cut
    copy = np.round(kept * size / max(kept))  # without the border around it
    border = (size - copy) // 2
    wanted = ((points[:, :2] * size - border) / copy * kept + cut) / sides

    of_a_photograph = json.loads(ask(demo, "/predict", photograph)[1])
    of_a_frame = shown(demo, struct.pack("<dHH", 0, width, height) + photograph)

    for found in (of_a_photograph, of_a_frame):
        said = [found["all_predictions"][sign] for sign in SIGNS]
        np.testing.assert_allclose(said, letters, atol=1e-4)
        seen = np.array(found["landmarks"])[:, :2]
        np.testing.assert_allclose(seen, wanted, atol=1e-4)


def oblong(sign, width, height) -> bytes:
    """The middle of a drawing, in these proportions, as PNG."""
    wide = min(WIDTH, HEIGHT * width // height)
    left = (WIDTH - wide) // 2
    middle = frame(sign)[:, left : left + wide]
    return cv2.imencode(".png", cv2.resize(middle, (width, height)))[1].tobytes()


def shown(address, one) -> dict:
    """What is said of one frame."""

    async def show():
        async with websockets.connect(
            address.replace("http", "ws") + "/frames"
        ) as socket:
            await socket.send(one)
            return json.loads(await socket.recv())

    return asyncio.run(asyncio.wait_for(show(), 30))


def test_a_form_of_several_is_answered_one_by_one(demo):
    parts = [("a.jpg", jpeg("A")), ("broken.jpg", b"no picture"), ("z.jpg", jpeg("Z"))]
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\n\r\n%s\r\n'
        % (name.encode(), data)
        for name, data in parts
    )
    kind = "multipart/form-data; boundary=x"

    status, body, _ = ask(demo, "/predict", body + b"--x--\r\n", Content_Type=kind)

    first, second, third = json.loads(body)
    assert status == 200
    assert (first["image"], first["predicted_class"]) == ("a.jpg", "A")
    assert "no JPEG, PNG, WebP or BMP" in second["error"]
    assert (third["image"], third["predicted_class"]) == ("z.jpg", "Z")


@pytest.mark.parametrize(
    "data, status, said",
    [
        (b"", 400, "the request is empty"),
        (b"no picture", 400, "no JPEG, PNG, WebP or BMP"),
        (bytes((32 << 20) + 1), 400, "more than 32 MiB"),
    ],
)
def test_what_cannot_be_answered_is_said(demo, data, status, said):
    got, body, _ = ask(demo, "/predict", data, Content_Type="image/jpeg")

    assert (got, said in json.loads(body)["error"]) == (status, True)


def connected(address):
    parts = urlsplit(address)
    return create_connection((parts.hostname, parts.port), timeout=60)


def ends(client):
    """Wait until the server closes a connection on which it says nothing."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_clients_that_ask_for_nothing_make_room_for_others(demo):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(demo)) for _ in range(MOST + 3)]
        assert ends(clients[0])
        assert ask(demo)[0] == 200


def test_clients_that_ask_for_nothing_are_ended_and_a_camera_at_rest_is_not(demo):
    async def look_on_after(wait):
        async with websockets.connect(demo.replace("http", "ws") + "/frames") as socket:
            await asyncio.to_thread(wait)
            await socket.send(frame_of("A", 0))
            return json.loads(await socket.recv())["predicted_class"]

    def dawdle():
        with connected(demo) as silent, connected(demo) as slow:
            with contextlib.suppress(ConnectionError):
                for _ in range(int(5 * PATIENCE_S)):  # a byte a second
                    slow.sendall(b"G")
                    if select.select([slow], [], [], 1.0)[0]:
                        break
            assert ends(slow) and ends(silent)

    started = time.monotonic()
    assert asyncio.run(look_on_after(dawdle)) == "A"
    assert time.monotonic() - started < 5 * PATIENCE_S


@contextlib.contextmanager
def slow_bodies(address, number):
    """Clients that announce a photograph and then send a byte a second of it."""
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n"
    ended = threading.Event()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(address)) for _ in range(number)]
        for client in clients:
            client.sendall(head)

        def dribble():
            while not ended.wait(1.0):
                for client in clients:
                    with contextlib.suppress(OSError):
                        client.sendall(b"x")

        sending = threading.Thread(target=dribble)
        sending.start()
        try:
            yield clients
        finally:
            ended.set()
            sending.join()


def answered(clients):
    return select.select(clients, [], [], 0)[0]


def test_bodies_that_come_byte_by_byte_keep_nobody_from_an_answer(demo):
    with slow_bodies(demo, AT_ONCE + 4) as clients:
        time.sleep(0.5)  # all of them are there
        assert ask(demo, "/predict", jpeg("A"))[0] == 200
        assert len(answered(clients)) < len(clients)

        deadline = time.monotonic() + 4 * PATIENCE_S
        while len(answered(clients)) < len(clients):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert all(client.recv(99).startswith(b"HTTP/1.1 408") for client in clients)


def test_more_requests_than_can_wait_are_refused_at_once(demo):
    with slow_bodies(demo, AT_ONCE + WAITING + 4) as clients:
        while len(answered(clients)) < 4:
            time.sleep(0.05)
        assert clients[-1].recv(99).startswith(b"HTTP/1.1 503")


def test_browsers_that_show_nothing_make_room_for_one_that_does(demo):
    async def look_on():
        address = demo.replace("http", "ws") + "/frames"
        async with contextlib.AsyncExitStack() as stack:
            silent = [
                await stack.enter_async_context(websockets.connect(address))
                for _ in range(MAX_CONNECTIONS)
            ]
            async with websockets.connect(address) as refused:
                with pytest.raises(websockets.ConnectionClosedError, match="1013"):
                    await refused.recv()
            await asyncio.sleep(PATIENCE_S + 0.5)
            await silent[0].send(frame_of("L", 0))
            assert json.loads(await silent[0].recv())["predicted_class"] == "L"
            async with websockets.connect(address) as welcome:
                await welcome.send(frame_of("A", 0))
                assert json.loads(await welcome.recv())["predicted_class"] == "A"
            with pytest.raises(websockets.ConnectionClosedError, match="1013"):
                await silent[1].recv()
            await silent[0].send(frame_of("L", 1))
            await silent[0].recv()

    asyncio.run(asyncio.wait_for(look_on(), 60))


def test_other_pages_and_names_are_refused(demo):
    port = urlsplit(demo).port
    assert ask(demo)[0] == 200
    for host in (f"evil.example:{port}", "evil.example", "", "127.0.0.1.example"):
        assert ask(demo, Host=host)[0] == 403, host
    others = "http://evil.example", "null", "http://[", f"http://localhost:{port + 1}"
    for origin in others:
        assert ask(demo, "/predict", b"x", Origin=origin)[0] == 403, origin
    assert ask(demo, "/predict", b"x", Sec_Fetch_Site="cross-site")[0] == 403
    policy = ask(demo)[2]["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_other_pages_get_no_stream(demo):
    async def connect(origin):
        address = demo.replace("http", "ws") + "/frames"
        async with websockets.connect(address, origin=origin):
            return True

    assert asyncio.run(connect(demo))
    with pytest.raises(websockets.InvalidStatus):
        asyncio.run(connect("http://evil.example"))


def frame_of(sign, milliseconds):
    return struct.pack("<dHH", milliseconds, WIDTH, HEIGHT) + jpeg(sign)


def test_frames_are_spelled_and_the_newest_of_those_that_wait_counts(demo):
    async def talk():
        events, answered = [], []
        address = demo.replace("http", "ws") + "/frames"
        async with websockets.connect(address) as socket:
            for i in range(12):
                await socket.send(frame_of("H", 100 * i))
                found = json.loads(await socket.recv())
                if "event" in found:
                    events.append(found["event"])
            for i in range(40):  # all at once
                await socket.send(frame_of("E", 2000 + i))
            while not answered or answered[-1] < 2039:
                answered.append(json.loads(await socket.recv())["sent"])
        return events, answered

    events, answered = asyncio.run(asyncio.wait_for(talk(), 60))
    assert [(event["sign"], event["text"]) for event in events] == [("H", "H")]
    assert answered == sorted(answered) and len(answered) < 40


@pytest.mark.parametrize(
    "frame", ["text", b"short", struct.pack("<dHH", 0, 0, 0) + b"x"]
)
def test_what_is_no_frame_ends_the_connection(demo, frame):
    async def talk():
        async with websockets.connect(demo.replace("http", "ws") + "/frames") as socket:
            await socket.send(frame)
            await socket.recv()

    with pytest.raises(websockets.ConnectionClosedError) as closed:
        asyncio.run(asyncio.wait_for(talk(), 30))
    assert closed.value.rcvd.code in (1007, 1009)


def test_from_outside_a_token_is_wanted(triton):
    with running(triton, "--name", "asl.example") as (address, lines):
        token = lines[0].rpartition("token=")[2]
        assert ask(address)[0] == 401
        assert ask(address, Authorization="Bearer wrong")[0] == 401
        assert ask(address, Authorization=f"Bearer {token}")[0] == 200
        assert (
            ask(address, Host="asl.example", Authorization=f"Bearer {token}")[0] == 200
        )
        assert ask(address, Host="other.example")[0] == 403
        opened = ask(address, f"/?token={token}", Cookie=f"asl_demo={token}")
        assert opened[0] == 200
        with pytest.raises(websockets.InvalidStatus):
            asyncio.run(connect_to(address))


@pytest.mark.parametrize("url", ["nonsense", "localhost", "http://localhost:8001"])
def test_an_address_that_is_none_is_refused_at_once(url, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["scripts/demo", "--url", url])
    with pytest.raises(SystemExit, match="2"):
        serve.main()
    said = capsys.readouterr()
    assert said.out == "" and f"{url} is not host:port, such as" in said.err


def test_files_that_are_no_certificate_are_named(tmp_path):
    (tmp_path / "bad.pem").write_text("no certificate")
    line = ["--tls", "--certificate", str(tmp_path / "bad.pem")]
    with pytest.raises(InputError, match="give both --certificate and --key"):
        serve.tls(serve.arguments().parse_args(line))
    line += ["--key", str(tmp_path / "bad.pem")]
    with pytest.raises(InputError, match="bad.pem are no certificate and its key"):
        serve.tls(serve.arguments().parse_args(line))
    with pytest.raises(InputError, match="of use with --tls only"):
        serve.tls(serve.arguments().parse_args(line[1:]))


def test_by_tls_the_page_is_served_with_the_certificate_of_remote_access(
    triton, tmp_path, monkeypatch
):
    monkeypatch.setenv("ASL_HOME", str(tmp_path))
    context = ssl.create_default_context(cafile=str(certify(["localhost"])))
    with running(triton, "--tls", hurried=True) as (address, lines):
        assert lines[0] == f"open {address}/"
        with connected(address) as silent:  # not even a handshake
            with urllib.request.urlopen(address, timeout=30, context=context) as answer:
                assert answer.status == 200
            assert ends(silent)


async def connect_to(address):
    async with websockets.connect(address.replace("http", "ws") + "/frames"):
        pass


def test_the_model_tab_knows_the_model_and_its_server(demo):
    ask(demo, "/predict", jpeg("A"))
    found = json.loads(ask(demo, "/model")[1])

    assert found["classes"] == list(SIGNS)
    assert found["parameters"]["model"] == "drawn"
    assert found["preprocessing"]["resize_mode"] == "letterbox"
    assert sum(part["requests"] for part in found["statistics"]) > 0
    assert found["may_roll_back"] is False
    assert ask(demo, "/roll-back", b"")[0] == 403


def test_a_chart_is_drawn_of_every_sign(demo):
    signs = json.loads(ask(demo, "/signs.json")[1])
    assert len(signs) == 29
    front, signer = (
        np.frombuffer(ask(demo, f"/signs/A/{side}.png")[1], np.uint8)
        for side in ("front", "signer")
    )
    assert front[:4].tobytes() == signer[:4].tobytes() == b"\x89PNG"
    assert front.tobytes() != signer.tobytes()
    assert ask(demo, "/signs/../front.png")[0] == 404
    assert ask(demo, "/signs/nobody/front.png")[0] == 404


def test_without_a_server_the_embedded_one_is_started_and_may_be_rolled_back(
    tmp_path,
):
    repository = tmp_path / "models"
    for name in ("first", "second"):
        artifacts = make_artifacts(tmp_path / name)
        versions.render(artifacts, repository, {"task_id": name})
    with running(None, "--repository", str(repository), "--admin") as (address, lines):
        token = next(x for x in lines if "rolling back" in x).rpartition(" ")[2]
        found = json.loads(ask(address, "/model")[1])
        assert (found["model"]["version"], found["may_roll_back"]) == ("2", True)
        assert [one["state"] for one in found["versions"]] == ["current", ""]
        wrong = ask(address, "/roll-back", b"", Authorization="Bearer x")
        assert wrong[0] == 403
        done = ask(address, "/roll-back", b"", Authorization=f"Bearer {token}")
        assert (done[0], json.loads(done[1])) == (200, {"version": 1})
        answer = json.loads(ask(address, "/predict", jpeg("A"))[1])
        assert (answer["model"]["version"], answer["predicted_class"]) == ("1", "A")


def test_the_server_may_go_and_come_back(triton, demo):
    triton.stop()
    try:
        status, body, _ = ask(demo, "/predict", jpeg("A"))
        assert status == 503
        assert "does not answer" in json.loads(body)["error"]
    finally:
        triton.start()
    deadline = time.monotonic() + 20
    while ask(demo, "/predict", jpeg("A"))[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_every_browser_is_told_that_the_server_has_gone_and_answered_again(
    triton, demo
):
    """Whoever notices first must not take the connection from under the others."""
    gone = threading.Event()

    async def browse():
        address = demo.replace("http", "ws") + "/frames"
        async with websockets.connect(address) as socket:
            told, sent = [], 0
            while told[-2:] != ["away", "all_predictions"]:
                await socket.send(frame_of("A", sent))
                found = json.loads(await socket.recv())
                kind = "away" if "away" in found else "all_predictions"
                if not told or kind != told[-1]:
                    told.append(kind)
                if kind == "away":
                    gone.set()
                sent += 100

    async def browse_all():
        await asyncio.gather(*[browse() for _ in range(8)])

    with ThreadPoolExecutor(1) as pool:
        browsing = pool.submit(lambda: asyncio.run(asyncio.wait_for(browse_all(), 90)))
        time.sleep(2)
        triton.stop()
        try:
            assert gone.wait(30)
        finally:
            triton.start()  # here: it ends with the thread that starts it
        browsing.result()
