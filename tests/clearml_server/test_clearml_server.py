"""The server without the SDK: keys, files, errors, one folder, sudden ends."""

import hashlib
import importlib.util
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from data_prep.paths import ROOT
from pipelines.clearml_server import auth, calls, services  # noqa: F401

BOUNDARY = "a-boundary"


def multipart(name, content, boundary=BOUNDARY):
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
        f'filename="{name}"\r\nContent-Type: text/plain\r\n\r\n'
    )
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def upload(embedded, name, content, headers=None):
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"} | (
        headers if headers is not None else bearer(embedded)
    )
    return embedded.http("POST", "/files", multipart(name, content), headers)


def bearer(embedded):
    return {"Authorization": f"Bearer {embedded.data('auth.login')['token']}"}


def test_nothing_but_the_page_is_open_without_the_key(embedded):
    assert embedded.call("tasks.get_all", keys="")[0] == 401
    assert embedded.call("auth.login", keys="")[0] == 401
    assert embedded.call("embedded.lease", {"pid": os.getpid()}, keys="")[0] == 401
    code, answer = embedded.call("tasks.get_all", keys="wrong:key")
    assert (code, answer["meta"]["result_subcode"]) == (401, 22)
    forged = bearer(embedded)["Authorization"][:-4] + "AAAA"
    code, answer = embedded.call("tasks.get_all", headers={"Authorization": forged})
    assert (code, answer["meta"]["result_subcode"]) == (401, 30)
    for method in ("GET", "POST", "DELETE"):
        assert embedded.http(method, "/files/a.txt", b"")[0] == 401
    assert embedded.http("GET", "/")[0] == 200
    assert embedded.call("tasks.get_all", headers=bearer(embedded))[0] == 200


def test_a_token_ends_when_it_says(embedded):
    token = embedded.data("auth.login", {"expiration_sec": -1})["token"]
    headers = {"Authorization": f"Bearer {token}"}
    code, answer = embedded.call("tasks.get_all", headers=headers)
    assert code == 401 and "expired" in answer["meta"]["result_msg"]


def log_in(embedded, body, **headers):
    """Log in as the page does; return the answer's code, data and cookie."""
    request = urllib.request.Request(
        f"{embedded.address}/view/login",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"} | headers,
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            cookie = answer.headers["Set-Cookie"]
            return answer.status, json.load(answer)["data"], cookie
    except urllib.error.HTTPError as error:
        return error.code, None, error.headers["Set-Cookie"]


def test_a_login_gives_a_token_for_the_api_and_a_cookie_for_the_view_alone(embedded):
    access_key, secret_key = embedded.keys().split(":")
    keys = {"access_key": access_key, "secret_key": secret_key}
    code, data, cookie = log_in(embedded, keys)
    assert code == 200
    for part in ("HttpOnly", "SameSite=Strict", "Path=/view", "Max-Age=28800"):
        assert part in cookie
    token = cookie.partition(";")[0].partition("=")[2]
    for headers in (
        {"Cookie": f"clearml_embedded={token}"},
        {"Cookie": f"clearml_embedded={data['token']}"},
        {"Authorization": f"Bearer {token}"},
    ):
        for method in ("GET", "POST"):
            path = "/tasks.create?name=forged&type=custom"
            assert embedded.http(method, path, b"{}", headers)[0] == 401
    headers = {"Authorization": f"Bearer {data['token']}"}
    assert embedded.call("tasks.get_all", headers=headers)[0] == 200
    wrong = keys | {"secret_key": "x"}
    for body in (wrong, {}, {"link": data["token"]}, {"link": "x"}):
        assert log_in(embedded, body) == (401, None, None)
    other = {"Origin": "http://127.0.0.1:1"}, {"Sec-Fetch-Site": "same-site"}
    for headers in other:  # another port of this machine is the same site
        assert log_in(embedded, keys, **headers) == (400, None, None)


def test_a_printed_link_logs_in_once(embedded):
    keys = json.loads((embedded.home / "credentials.json").read_text())
    link = auth.Gate(keys).token(60, auth.LOGIN)
    assert log_in(embedded, {"link": link})[0] == 200
    assert log_in(embedded, {"link": link})[0] == 401
    headers = {"Authorization": f"Bearer {auth.Gate(keys).token(60, auth.LOGIN)}"}
    assert embedded.call("tasks.get_all", headers=headers)[0] == 401


def test_nothing_is_written_by_an_address_alone(embedded):
    path = "/tasks.create?name=by+address&type=custom"
    for method in ("GET", "POST"):
        code, body = embedded.http(method, path, b"", bearer(embedded))
        assert code == 400 and b"belong into the body" in body
    found = embedded.data("tasks.get_all", {"name": "by address"})["tasks"]
    assert found == []


def test_keys_are_readable_by_their_owner_alone(embedded):
    for name in ("credentials.json", "clearml.conf", "server.json"):
        assert stat.S_IMODE((embedded.home / name).stat().st_mode) == 0o600
    secret = embedded.keys().partition(":")[2]
    assert secret not in (embedded.home / "server.log").read_text()


def test_a_folder_that_others_could_read_is_closed_to_them(own_embedded):
    own_embedded.home.mkdir(parents=True)
    own_embedded.home.chmod(0o755)
    own_embedded.start()
    assert stat.S_IMODE(own_embedded.home.stat().st_mode) == 0o700


def test_an_unknown_endpoint_is_refused_and_logged_once(embedded):
    for _ in range(3):
        code, answer = embedded.call("v2.23/dreams.get_all")
        assert code == 404
        assert answer["meta"]["endpoint"]["name"] == "dreams.get_all"
        assert "Unable to find endpoint" in answer["meta"]["result_msg"]
    log = (embedded.home / "server.log").read_text()
    assert log.count("dreams.get_all") == 1


def test_bad_requests_are_answered_not_fatal(embedded):
    kind = {"Content-Type": "application/json"} | bearer(embedded)
    for body in (b"{", b"[]", b'"text"'):
        assert embedded.http("POST", "/tasks.get_all", body, kind)[0] == 400
    code, answer = embedded.call("tasks.get_by_id")
    assert (code, answer["meta"]["result_subcode"]) == (400, 11)
    code, answer = embedded.call("tasks.create", {"name": "xy", "type": "custom"})
    assert code == 400 and "at least 3 characters" in answer["meta"]["result_msg"]
    code, answer = embedded.call("tasks.create", {"name": "xyz", "type": "dream"})
    assert code == 400
    code, answer = embedded.call("events.add_batch", lines=[{"type": "log"}])
    assert (code, answer["meta"]["result_subcode"]) == (400, 131)
    assert embedded.http("PUT", "/elsewhere", b"x")[0] == 405


def test_values_that_are_no_numbers_are_refused_and_break_no_query(embedded):
    body = {"name": "odd values", "type": "custom"}
    task = embedded.data("tasks.create", body | {"comment": float("nan")})["id"]
    event = {"type": "training_stats_scalar", "task": task, "metric": "m"}
    values = [1.0, float("nan"), float("inf"), None, "x", "1e999", "2.5"]
    lines = [
        event | {"variant": "v", "value": value, "iter": i}
        for i, value in enumerate(values)
    ]
    lines.append(event | {"variant": "v", "value": 1, "iter": 2**70})
    lines.append(event | {"task": ["x"]})
    answer = embedded.data("events.add_batch", lines=lines)
    assert (answer["added"], answer["errors"]) == (2, 7)
    curve = embedded.data("events.scalar_metrics_iter_histogram", {"task": task})
    assert curve["m"]["v"]["y"] == [1.0, 2.5] and curve["m"]["v"]["x"] == [0, 6]
    metric, variant = (hashlib.md5(name.encode()).hexdigest() for name in "mv")
    order = f"-last_metrics.{metric}.{variant}.max_value"
    found = embedded.data("tasks.get_all", {"order_by": [order]})["tasks"]
    (kept,) = (one for one in found if one["id"] == task)
    assert kept["last_metrics"][metric][variant]["max_value"] == 2.5


def test_files_come_back_whole_and_in_parts(embedded):
    content = bytes(range(256)) * 5000 + b"\r\n--a-boundar\r\n"
    assert upload(embedded, "A b/ü/data.bin", content)[0] == 200
    path = "/files/A%20b/%C3%BC/data.bin"
    headers = bearer(embedded)
    assert embedded.http("GET", path, headers=headers) == (200, content)
    for asked, start, end in (
        ("bytes=5-9", 5, 10),
        ("bytes=1000000-", 1_000_000, None),
        ("bytes=-7", -7, None),
        ("bytes=0-99999999", 0, None),
    ):
        code, part = embedded.http("GET", path, headers=headers | {"Range": asked})
        assert part == content[start:end]
        assert code == (206 if len(part) < len(content) else 200)
    code, _ = embedded.http("GET", path, headers=headers | {"Range": "bytes=9999999-"})
    assert code == 416
    assert embedded.http("HEAD", path, headers=headers) == (200, b"")
    assert upload(embedded, "A b/ü/data.bin", b"")[0] == 200
    assert embedded.http("GET", path, headers=headers) == (200, b"")
    assert embedded.http("DELETE", path, headers=headers)[0] == 200
    assert embedded.http("DELETE", path, headers=headers)[0] == 404
    assert embedded.http("GET", path, headers=headers)[0] == 404
    assert not (embedded.home / "files" / "A b").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../credentials.json",
        "a/../../credentials.json",
        "..",
        ".",
        "a//b",
        ".partial/x",
        "x" * 300,
        "/../x",
    ],
)
def test_no_name_leads_out_of_the_folder(embedded, name):
    before = {p for p in embedded.home.rglob("*") if "sqlite" not in p.name}
    code, _ = upload(embedded, name, b"x")
    assert code == 400
    path = "/files/" + name.replace("/", "%2F").replace(".", "%2E")
    for method in ("GET", "DELETE"):
        code, body = embedded.http(method, path, headers=bearer(embedded))
        assert code == 400 and b"secret" not in body
    assert {p for p in embedded.home.rglob("*") if "sqlite" not in p.name} == before


def test_an_upload_that_ends_early_leaves_nothing(embedded):
    host, port = embedded.address.removeprefix("http://").split(":")
    body = multipart("early.bin", b"x" * 100_000)
    with socket.create_connection((host, int(port))) as connection:
        head = (
            f"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            f"Authorization: {bearer(embedded)['Authorization']}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        )
        connection.sendall(head.encode() + body[:50_000])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100).startswith(b"HTTP/1.0 400")
    assert not (embedded.home / "files" / "early.bin").exists()
    assert list((embedded.home / "files" / ".partial").iterdir()) == []
    for kind in ("text/plain", "multipart/form-data"):
        headers = bearer(embedded) | {"Content-Type": kind}
        assert embedded.http("POST", "/files", b"x", headers)[0] == 400


def test_without_a_key_a_large_request_is_refused_before_it_is_read(embedded):
    host, port = embedded.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = (
            "POST /tasks.create HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000\r\n\r\n"
        )
        connection.sendall(head.encode() + b" " * (1 << 20))  # and no more
        assert connection.recv(100).startswith(b"HTTP/1.0 401")


def second(embedded, *options):
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.clearml_server", *options],
        cwd=ROOT,
        env=embedded.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_server_shows_the_running_one_and_a_link_that_logs_in(embedded):
    process = second(embedded)
    first, _, link = (process.stdout.readline() for _ in range(3))
    assert embedded.address in first and "already" in first
    token = link.strip().removeprefix(f"{embedded.address}/login#link=")
    assert log_in(embedded, {"link": token})[0] == 200
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[1] == "" and process.returncode == 130


def test_a_second_server_elsewhere_refuses_the_folder(embedded):
    process = second(embedded, "--port", "1")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and output == ""
    (line,) = errors.splitlines()
    assert embedded.address in line and "--home" in line


def test_a_host_that_others_reach_is_warned_of(own_embedded):
    command = [sys.executable, "-m", "pipelines.clearml_server", "--host", "0.0.0.0"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=own_embedded.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "reachable from other machines" in errors and process.returncode == 130
    assert not (own_embedded.home / "server.json").exists()


def test_stored_addresses_follow_the_server_to_another_port(own_embedded):
    own_embedded.start()
    first = own_embedded.address
    url = f"{first}/files/a/model.onnx"
    body = {"name": "model", "uri": url, "comment": f"{first}0/files is elsewhere"}
    model = own_embedded.data("models.create", body)["id"]
    assert upload(own_embedded, "a/model.onnx", b"weights")[0] == 200
    own_embedded.stop()
    own_embedded.start()
    assert own_embedded.address == first  # the same port where it is free
    own_embedded.stop()
    host, port = first.removeprefix("http://").split(":")
    with socket.create_server((host, int(port))):
        own_embedded.start()
    assert own_embedded.address != first
    found = own_embedded.data(
        "models.get_all", {"uri": [f"{own_embedded.address}/files/a/model.onnx"]}
    )["models"]
    assert [m["id"] for m in found] == [model]
    assert found[0]["uri"] == f"{own_embedded.address}/files/a/model.onnx"
    assert found[0]["comment"] == f"{first}0/files is elsewhere"
    # and it is told from a foreign file when the model is deleted with it
    own_embedded.data("models.delete", {"model": model})
    assert not (own_embedded.home / "files" / "a").exists()


@pytest.mark.slow
def test_a_killed_server_has_kept_all_it_acknowledged(own_embedded):
    """Clients write while the server is killed, several times."""
    for round_ in range(3):
        own_embedded.start()
        acknowledged, refused = [], []

        def write(client):
            try:
                for i in range(10_000):
                    name = f"task {round_} {client} {i}"
                    body = {"name": name, "type": "custom"}
                    task = own_embedded.data("tasks.create", body)["id"]
                    event = {"type": "training_stats_scalar", "task": task}
                    event |= {"metric": "m", "variant": "v", "value": i, "iter": i}
                    own_embedded.data("events.add_batch", lines=[event, event])
                    upload(own_embedded, f"{task}/file", name.encode() * 1000)
                    acknowledged.append((task, name, i))
            except (OSError, AssertionError) as error:
                refused.append(error)

        threads = [threading.Thread(target=write, args=(c,)) for c in range(3)]
        for thread in threads:
            thread.start()
        while len(acknowledged) < 20:
            threads[0].join(0.01)
        own_embedded.stop(signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert refused and (own_embedded.home / "server.json").exists()
        own_embedded.start()
        headers = bearer(own_embedded)
        for task, name, i in acknowledged:
            record = own_embedded.data("tasks.get_by_id", {"task": task})["task"]
            assert record["name"] == name and record["last_iteration"] == i
            curve = own_embedded.data(
                "events.scalar_metrics_iter_histogram", {"task": task}
            )
            assert curve["m"]["v"]["y"] == [i]
            path = f"/files/{task}/file"
            content = own_embedded.http("GET", path, headers=headers)[1]
            assert content == name.encode() * 1000
        # whatever was half-done is whole or not there
        for record in own_embedded.data("tasks.get_all")["tasks"]:
            assert set(record) >= {"name", "status", "created", "hyperparams"}
        assert list((own_embedded.home / "files" / ".partial").iterdir()) == []
        own_embedded.stop()


def test_every_call_that_the_sdk_makes_has_its_endpoint():
    """Found in the SDK's source; HyperDatasets are no part of the open server."""
    package = Path(importlib.util.find_spec("clearml").origin).parent
    wanted = set()
    for path in package.rglob("*.py"):
        if "services" in path.parts or "hyperdatasets" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        pattern = r"\b(tasks|models|projects|queues|events|workers)\.(\w+)Request\("
        for service, action in re.findall(pattern, text):
            snake = re.sub(r"(?<!^)(?=[A-Z])", "_", action).lower()
            wanted.add(f"{service}.{snake}")
        pattern = r'service="(\w+)",\s*action="(\w+)"'
        wanted |= {f"{s}.{a}" for s, a in re.findall(pattern, text)}
    assert len(wanted) > 40
    # answers of calls that take long, vaults, sharing: of the hosted server alone
    hosted = {"async.result", "users.get_vaults", "tasks.share", "models.prepared"}
    assert wanted - hosted - calls.names() == set()
