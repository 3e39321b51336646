"""A real nginx before the real server, on loopback, with a certificate of its own."""

import argparse
import gzip
import json
import socket
import stat
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http
from client_command import ask, ask_here, expected_lines
from closed_calls import CLOSED
from leftovers import children_of
from nginx_front import LIBRARIES, Front, wait_until
from tritonclient.utils import InferenceServerException

from benchmarks.broken_requests import many_chunks
from data_prep.errors import InputError
from pipelines.serving import bounded_log, remote_access, remote_credentials

try:
    remote_access.find_nginx()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.slow

PROTOCOLS = pytest.mark.parametrize("protocol", ["grpc", "http"])


@pytest.fixture(scope="module")
def tokens_home(server, tmp_path_factory):
    """A data folder of this file's own: clients' tokens are made in it."""
    home = tmp_path_factory.mktemp("remote")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASL_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def front(server, tokens_home):
    front = Front(server, tokens_home / "remote-access")
    yield front
    front.stop()


def refusal(front, *options, code=2) -> str:
    """Run the client in this process; return the one line it refuses by."""
    done = ask_here(front, *options)
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (code, "", 1)
    return lines[0]


@PROTOCOLS
def test_a_client_with_a_token_is_answered(protocol, front, artifacts, photographs):
    paths = list(photographs.values())

    done = ask(front, "--image", *paths, *front.options(), protocol=protocol)

    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1  # which model answers
    assert done.stdout.splitlines() == expected_lines(artifacts, paths)


@PROTOCOLS
@pytest.mark.parametrize("header", [[], ["authorization: Bearer " + 64 * "0"]])
def test_no_token_and_a_wrong_one_are_refused(header, protocol, front, photographs):
    options = ["--image", photographs["wide.jpg"], "--ssl", "--ca", front.ca]
    for text in header:
        options += ["--header", text]

    line = refusal(front, *options, "--protocol", protocol)

    assert "wants a valid token" in line


@PROTOCOLS
def test_a_certificate_that_is_not_trusted_is_told_without_other_noise(
    protocol, front, photographs
):
    done = ask(front, "--image", photographs["wide.jpg"], "--ssl", protocol=protocol)

    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "is not trusted" in done.stderr


@PROTOCOLS
def test_a_certificate_for_another_name_is_refused(protocol, front, photographs):
    options = ["--image", photographs["wide.jpg"], "--protocol", protocol]

    line = refusal(
        front, *options, *front.options(), "--url", f"127.0.0.1:{front.port}"
    )

    assert "for another name" in line


@PROTOCOLS
def test_without_tls_there_is_no_answer(protocol, front, photographs):
    options = ["--image", photographs["wide.jpg"], "--protocol", protocol]

    line = refusal(front, *options, code={"http": 2, "grpc": 3}[protocol])

    expected = {"http": "this port speaks TLS only", "grpc": "no Triton server answers"}
    assert expected[protocol] in line


@PROTOCOLS
def test_a_model_that_is_not_served_is_told(protocol, front, photographs):
    options = ["--image", photographs["wide.jpg"], "--protocol", protocol]

    line = refusal(front, *options, *front.options(), "--model", "nobody")

    assert "model 'nobody'" in line


def test_what_the_client_cannot_use_is_named_but_no_header_shown(
    front, photographs, tmp_path
):
    image = ["--image", photographs["wide.jpg"], "--ssl"]
    (tmp_path / "empty.pem").touch()

    assert "--ca missing.pem" in refusal(front, *image, "--ca", "missing.pem")
    assert "empty.pem: " in refusal(front, *image, "--ca", tmp_path / "empty.pem")
    assert "@missing.header" in refusal(front, *image, "--header", "@missing.header")
    line = refusal(front, *image, "--header", "secret")
    assert "--header takes NAME:VALUE" in line and "secret" not in line


@PROTOCOLS
def test_nothing_can_be_controlled_from_outside_even_with_a_token(protocol, front):
    with front.client(protocol) as client:
        for method, arguments in CLOSED.items():
            with pytest.raises(InferenceServerException) as caught:
                getattr(client, method)(*arguments, headers=front.headers())
            assert caught.value.status() in ("403", "StatusCode.PERMISSION_DENIED")
        assert client.is_model_ready("asl", headers=front.headers())


@PROTOCOLS
def test_health_needs_no_token_and_the_rest_does(protocol, front):
    with front.client(protocol) as client:
        assert client.is_server_live()
        assert client.is_server_live()
        for method in ("get_server_metadata", "get_inference_statistics"):
            with pytest.raises(InferenceServerException) as caught:
                getattr(client, method)()
            assert caught.value.status() in ("401", "StatusCode.UNAUTHENTICATED")
            assert getattr(client, method)(headers=front.headers())


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/models/asl/unload",
        "/v2//repository/models/asl/unload",
        "/v2/%72epository/models/asl/unload",
        "/v2/models/../repository/models/asl/unload",
        "/v2/models/asl/infer/../../../repository/models/asl/unload",
        "/v2/repository/models/asl/unload?/v2/models/asl/infer",
        "/v2/models/asl/trace/setting",
        "/v2/models/asl/generate",
        "/v2/logging",
        "/metrics",
        "/",
    ],
)
def test_no_spelling_of_an_address_leads_around_the_list(path, front):
    header = front.header.read_text().strip()

    status, _, body = front.request("POST", path, [header])

    assert (status, list(json.loads(body))) == (403, ["error"])


def test_a_refusal_says_what_is_missing(front):
    status, head, body = front.request("GET", "/v2/models/asl")
    assert status == 401
    assert 'www-authenticate: bearer realm="asl"' in head.lower()
    assert json.loads(body) == {"error": "a valid token is needed"}

    header = front.header.read_text().strip()
    status, head, _ = front.request("GET", "/v2/models/asl", [header])
    assert status == 200
    assert "www-authenticate" not in head.lower()


@PROTOCOLS
def test_a_batch_of_ten_megabytes_passes_unchanged(protocol, front, server):
    url = {"grpc": server.grpc_url, "http": server.http_url}[protocol]
    with (
        front.client(protocol) as outside,
        LIBRARIES[protocol].InferenceServerClient(url) as inside,
    ):
        shape = {"as_json": True} if protocol == "grpc" else {}
        model = inside.get_model_metadata("asl", **shape)
        files = np.array([[bitmap(640, seed)] for seed in range(9)], object)
        assert sum(len(file[0]) for file in files) > 10 << 20
        tensor = LIBRARIES[protocol].InferInput(
            model["inputs"][0]["name"], list(files.shape), "BYTES"
        )
        tensor.set_data_from_numpy(files)
        output = model["outputs"][0]["name"]

        answer = outside.infer("asl", [tensor], headers=front.headers())

        expected = inside.infer("asl", [tensor]).as_numpy(output)
    assert len(np.unique(expected, axis=0)) == 9
    assert (answer.as_numpy(output) == expected).all()


def bitmap(side, seed) -> bytes:
    """Draw noise as an uncompressed BMP; ``side`` is a multiple of four."""
    pixels = np.random.default_rng(seed).integers(0, 256, side * side * 3, np.uint8)
    sizes = np.array([54 + len(pixels), 0, 54, 40, side, side], "<i4").tobytes()
    return b"BM" + sizes + bytes([1, 0, 24, 0]) + bytes(24) + pixels.tobytes()


def test_a_larger_request_than_allowed_is_refused_as_json(front):
    with front.client("http") as client:
        with pytest.raises(InferenceServerException, match="larger than 64 MB"):
            tensor = tritonclient.http.InferInput("x", [65 << 20], "UINT8")
            tensor.set_data_from_numpy(np.zeros(65 << 20, np.uint8))
            client.infer("asl", [tensor], headers=front.headers())


@PROTOCOLS
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_request_is_refused(protocol, algorithm, front, server):
    zeros = np.zeros((1, 32, 32, 3), np.uint8)
    tensor = LIBRARIES[protocol].InferInput("image", zeros.shape, "UINT8")
    tensor.set_data_from_numpy(zeros)
    option = {"http": "request_compression_algorithm", "grpc": "compression_algorithm"}
    with front.client(protocol) as client:

        def ask(**options):
            return client.infer(
                "asl_classifier", [tensor], headers=front.headers(), **options
            )

        with pytest.raises(InferenceServerException, match="415|compressed requests"):
            ask(**{option[protocol]: algorithm})
        assert ask().as_numpy("probabilities").shape == (1, 5)


@pytest.mark.parametrize("first", ["identity", ""])
def test_of_two_statements_on_compression_none_reaches_the_server(first, front):
    """nginx looks at the first; Triton might have looked at the other one."""
    token = front.header.read_text().strip()
    zeros = [{"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 3]}]
    zeros[0]["data"] = [0] * 32 * 32 * 3
    packed = gzip.compress(json.dumps({"inputs": zeros}).encode())
    headers = [token, f"Content-Encoding: {first}", "Content-Encoding: gzip"]

    infer = "/v2/models/asl_classifier/infer"
    status, _, body = front.request("POST", infer, headers, packed)

    assert status != 200 and "failed to parse" in body
    for value in ("identity, gzip", "GZIP", "br", "identity,"):
        headers = [token, f"Content-Encoding: {value}"]
        assert front.request("GET", "/v2/models/asl", headers)[0] == 415
    headers = [token, "Content-Encoding: identity"]
    assert front.request("GET", "/v2/models/asl", headers)[0] == 200


def test_who_is_granted_access_gets_in_and_who_is_revoked_does_not(front):
    header = remote_credentials.grant("phone").read_text().strip()

    def status():
        return front.request("GET", "/v2/models/asl", [header])[0]

    wait_until(lambda: status() == 200, "the new client is refused")
    remote_credentials.revoke("phone")
    wait_until(lambda: status() == 401, "the revoked client is answered")
    with pytest.raises(InputError, match="no client 'phone'; there are: laptop"):
        remote_credentials.revoke("phone")


def test_secrets_are_their_owners_only_and_in_no_log(front):
    header = front.header.read_text().strip()
    assert front.request("GET", "/v2/models/asl", [header])[0] == 200
    token = header.split()[-1]

    for path in front.header, front.folder / "key.pem", front.folder / "tokens.conf":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(front.folder.stat().st_mode) == 0o700
    log = front.folder / "access.log"
    wait_until(
        lambda: '"laptop" "GET /v2/models/asl" 200' in log.read_text(),
        "the request is not in the log",
    )
    assert token not in log.read_text()
    command = Path(f"/proc/{front.process.pid}/cmdline").read_text()
    assert token not in command


def test_what_faces_the_network_is_not_root(front):
    (nginx,) = children_of(front.process.pid)

    workers = children_of(nginx.pid)

    assert workers
    for worker in workers:
        assert Path(f"/proc/{worker.pid}").stat().st_uid != 0


def test_the_log_is_cut_and_nginx_goes_on_writing_it(front):
    log, header = front.folder / "access.log", front.header.read_text().strip()
    with open(log, "ab") as file:
        file.write(b"\n" * (bounded_log.LIMIT_BYTES + 1))
    wait_until(lambda: log.stat().st_size < 1000, "the log is never cut")

    assert front.request("GET", "/v2/models/asl_classifier", [header])[0] == 200

    wait_until(lambda: b"asl_classifier" in log.read_bytes(), "nothing is logged")
    assert b"\0" not in log.read_bytes()
    assert log.with_name("access.log.1").stat().st_size > bounded_log.LIMIT_BYTES


def test_a_body_in_many_chunks_which_would_end_triton_does_not(front, server):
    start, _, rest = many_chunks(None, b"").partition(b"\r\n")
    headers = f"\r\n{front.header.read_text().strip()}\r\nConnection: close\r\n"

    answer = front.send(start + headers.encode() + rest)

    assert answer.startswith("HTTP/1.1 400 ") or answer.startswith("HTTP/1.1 500 ")
    assert server.process.poll() is None
    with front.client("http") as client:
        assert client.is_model_ready("asl", headers=front.headers())


def serve_options(**changes) -> argparse.Namespace:
    options = remote_access.arguments().parse_args(["serve", "--port", "0"])
    return argparse.Namespace(**(vars(options) | changes))


def test_a_second_one_on_the_same_folder_is_refused(front):
    with pytest.raises(InputError, match="runs on .* already"):
        remote_access.prepare(serve_options())


@pytest.mark.parametrize("option", ["--http", "--grpc", "--page"])
def test_what_would_be_more_than_an_address_to_nginx_is_refused(option, capsys):
    with pytest.raises(SystemExit):
        remote_access.arguments().parse_args(["serve", option, "x:1; y"])
    assert "x:1; y is not host:port" in capsys.readouterr().err


def test_what_is_missing_is_named_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setenv("ASL_HOME", str(tmp_path))
    with pytest.raises(InputError, match="remote-access certify HOST"):
        remote_access.prepare(serve_options())
    remote_credentials.certify(["localhost", "*.example.org", "::1"])
    with pytest.raises(InputError, match="remote-access grant NAME"):
        remote_access.prepare(serve_options())
    remote_credentials.grant("laptop")
    with pytest.raises(InputError, match="--certificate and --key"):
        remote_access.prepare(serve_options(key=tmp_path))
    (tmp_path / "bad.pem").write_text("no certificate")
    bad = {"certificate": tmp_path / "bad.pem", "key": tmp_path / "bad.pem"}
    with pytest.raises(InputError, match="nginx refuses: .*bad.pem"):
        remote_access.prepare(serve_options(**bad))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="cannot be used at 127.0.0.1"):
            remote_access.prepare(serve_options(port=taken.getsockname()[1]))
    command, _ = remote_access.prepare(serve_options())
    assert Path(command[0]).name == "nginx"


@pytest.mark.parametrize("name", ["../x", "a b", 'a"; x', "", "x\n", "a" * 64])
def test_a_name_that_is_none_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ASL_HOME", str(tmp_path))
    with pytest.raises(InputError, match="cannot name a client"):
        remote_credentials.grant(name)
    with pytest.raises(InputError, match="neither a host's name nor an address"):
        remote_credentials.certify([name])
