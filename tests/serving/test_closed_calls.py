"""Whoever reaches a server's ports may ask for answers; the rest wants its key."""

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from closed_calls import (
    CLOSED,
    CLOSED_HTTP,
    NO_ADDRESS,
    code_as_json,
    code_to_run,
    request,
)
from leftovers import running_in_session
from tritonclient.utils import InferenceServerException

from pipelines.serving import server_keys
from pipelines.serving.triton_server import LAUNCH

pytestmark = pytest.mark.slow

LIBRARIES = {"grpc": tritonclient.grpc, "http": tritonclient.http}
HEADERS = {"grpc": server_keys.HEADER, "http": "asl-key"}
PROTOCOLS = pytest.mark.parametrize("protocol", ["grpc", "http"])
# What a page in a browser on this machine sends without asking the server first.
PAGE = {
    "Content-Type": "text/plain",
    "Host": "page.example",
    "Origin": "http://page.example",
}


@pytest.fixture
def key(server) -> str:
    return server_keys.find(server.repository, server.grpc_url)


def refusal(call, *arguments, **options) -> str | None:
    """Call; return how it was refused for want of the key, None where it was not."""
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        return error.status() if "is restricted" in error.message() else None


@PROTOCOLS
def test_without_the_key_and_with_a_wrong_one_every_closed_call_is_refused(
    protocol, server, key
):
    url = {"grpc": server.grpc_url, "http": server.http_url}[protocol]
    refused = {"grpc": "StatusCode.UNAVAILABLE", "http": "403"}[protocol]
    wrong = [{}, {HEADERS[protocol]: key[:-1]}, {HEADERS[protocol]: ""}]
    wrong.append({"authorization": key})
    with LIBRARIES[protocol].InferenceServerClient(url) as client:
        for method, arguments in CLOSED.items():
            for headers in wrong:
                call = getattr(client, method)
                assert refusal(call, *arguments, headers=headers) == refused, method
        assert client.is_model_ready("asl")


@PROTOCOLS
def test_with_the_key_every_closed_call_is_open(protocol, server, key):
    url = {"grpc": server.grpc_url, "http": server.http_url}[protocol]
    headers = {HEADERS[protocol]: key}
    with LIBRARIES[protocol].InferenceServerClient(url) as client:
        for method, arguments in CLOSED.items():
            if method not in ("load_model", "unload_model"):
                call = getattr(client, method)
                assert refusal(call, *arguments, headers=headers) is None, method


@PROTOCOLS
def test_nobody_without_the_key_has_the_server_run_code(protocol, server, tmp_path):
    proof = tmp_path / "has-run"
    config, files = code_to_run(proof)
    url = {"grpc": server.grpc_url, "http": server.http_url}[protocol]
    with LIBRARIES[protocol].InferenceServerClient(url) as client:
        for name in ("asl", "new"):
            assert refusal(client.load_model, name, config=config, files=files)
    assert not proof.exists()


def test_a_page_in_a_browser_may_ask_for_answers_and_do_nothing_else(server, tmp_path):
    proof = tmp_path / "has-run"
    for method, path in CLOSED_HTTP:
        status, _, body = request(server.http_url, method, path, headers=PAGE)
        assert status == 403 and b"restricted" in body, path
    for method, path in NO_ADDRESS:
        assert request(server.http_url, method, path, headers=PAGE)[0] == 404, path
    load = "/v2/repository/models/asl/load"
    assert request(server.http_url, "POST", load, code_as_json(proof), PAGE)[0] == 403
    assert not proof.exists()

    # with a header of its own it must ask first, and is not answered
    asking = {**PAGE, "Access-Control-Request-Headers": "asl-key"}
    status, headers, _ = request(server.http_url, "OPTIONS", load, "", asking)
    assert status != 200 or "Access-Control-Allow-Origin" not in headers

    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    tensor = {"name": "image", "datatype": "UINT8", "shape": list(pixels.shape)}
    asked = json.dumps({"inputs": [{**tensor, "data": pixels.ravel().tolist()}]})
    infer = "/v2/models/asl_classifier/infer"
    status, headers, _ = request(server.http_url, "POST", infer, asked, PAGE)
    assert status == 200 and "Access-Control-Allow-Origin" not in headers


def test_the_key_is_for_the_eyes_of_the_servers_owner_only(server, key):
    file = server_keys.note(server.repository, server.grpc_url, ".key")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    processes = running_in_session(server.process.pid)
    assert any("tritonserver" in x.command for x in processes)
    assert not any(key in x.command for x in processes)
    assert key not in server.log_path.read_text()
    for process in processes:
        mode = os.stat(f"/proc/{process.pid}/environ").st_mode
        assert stat.S_IMODE(mode) == 0o400


# Becomes the server's program: prints what it was given and what others see.
SHOW = "import sys; print(sys.argv[1:]); print(open('/proc/self/cmdline').read())"


def launch(**environment):
    return subprocess.run(
        [sys.executable, LAUNCH, sys.executable, "-c", SHOW, "--seen"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
    )


def test_the_program_is_given_a_key_that_its_command_line_does_not_show(tmp_path):
    (tmp_path / "key").write_text("f" * 32 + "\n1234 5678\n")
    named = {"TRITON_KEY_FILE": str(tmp_path / "key"), "TRITON_KEY": "v" * 32}

    for environment, key in ((named, "f" * 32), ({"TRITON_KEY": "v" * 32}, "v" * 32)):
        done = launch(**environment)
        given, seen = done.stdout.splitlines()
        assert (done.returncode, done.stderr) == (0, "")
        assert given.count(f":asl-key={key}'") == 2 and "'--seen'" in given
        assert key not in seen and "--seen" in seen and "asl-key" not in seen


def test_a_server_that_is_given_no_key_has_one_that_nobody_knows():
    first, second = (launch().stdout.splitlines()[0] for _ in range(2))
    for given in first, second:
        assert given.count("model-repository,shared-memory,trace,logging:asl-key=") == 2
    assert first != second


@pytest.mark.parametrize("text", ["", "short", "a" * 31 + "=" * 9, "ü" * 40])
def test_what_is_no_key_is_refused(text, tmp_path):
    (tmp_path / "key").write_text(text)
    done = launch(TRITON_KEY_FILE=str(tmp_path / "key"))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: {tmp_path}/key holds no key")
    assert len(done.stderr.splitlines()) == 1


def test_a_key_file_that_is_missing_is_refused(tmp_path):
    done = launch(TRITON_KEY_FILE=str(tmp_path / "none"))
    assert done.returncode == 1 and "which TRITON_KEY_FILE names" in done.stderr


def test_a_key_of_a_server_that_has_gone_does_not_count(tmp_path, monkeypatch):
    program = (
        "import os, sys; from pipelines.serving import server_keys\n"
        "server_keys.make(sys.argv[1], 'localhost:8001'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)
    assert server_keys.note(tmp_path, "127.0.0.1:8001", ".key").exists()

    assert server_keys.find(tmp_path, "localhost:8001") is None
    monkeypatch.setenv("TRITON_KEY", "of another server")
    assert server_keys.find(tmp_path, "localhost:8001") == "of another server"
    server_keys.note(tmp_path, "127.0.0.1:8001", ".key").write_text("damaged\n")
    assert server_keys.find(tmp_path, "localhost:8001") == "of another server"
    with server_keys.made(tmp_path, "127.0.0.1:8001") as path:
        found = server_keys.find(tmp_path, "localhost:8001")
        assert found == path.read_text().split()[0] != "of another server"
    assert not path.exists()
