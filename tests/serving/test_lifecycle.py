"""Starting and stopping: what is refused, what is said, what is left behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from leftovers import children_of, running_in_session, shared_memory_of

from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines.repository import versions
from pipelines.repository.model_config import Settings
from pipelines.serving import model_control, running_server, serving_environment
from pipelines.serving.triton_server import TritonServer, pick_ports

pytestmark = pytest.mark.slow
FREE_PORTS = ("--http-port=0", "--grpc-port=0", "--metrics-port=0")


@pytest.fixture
def repository(artifacts, tmp_path):
    versions.render(artifacts, tmp_path / "models", {}, Settings(instances=1))
    return tmp_path / "models"


def serve(*options, **popen):
    """Start the serve command."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.serve", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )


def test_however_serving_ends_no_process_and_no_shared_memory_stays(repository):
    assert running_server.find(repository) is None
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
    serving = [serve("--repository", repository, *FREE_PORTS) for _ in numbers]
    servers, addresses = [], []
    for process in serving:
        said = "".join(iter_until("Ctrl-C stops it", process.stdout))
        addresses.append(re.search(r"gRPC\s+(\S+)", said).group(1))
        assert model_control.probe(addresses[-1]) is None
        (triton,) = children_of(process.pid)
        assert len(running_in_session(triton.pid)) == 3  # it, fused, classifier
        assert shared_memory_of(process.pid)
        servers.append(triton.pid)
    assert running_server.find(repository)["grpc"] in addresses

    for process, number in zip(serving, numbers):
        process.send_signal(number)

    for process, number in zip(serving, numbers):
        _, errors = process.communicate(timeout=30)
        if number != signal.SIGKILL:
            assert (process.returncode, errors) == (0, "")
    # nobody was left to wait for the server whose starter was killed
    deadline = time.monotonic() + 20
    while running_in_session(servers[-1]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [running_in_session(server) for server in servers] == [[], [], []]
    assert running_server.find(repository) is None
    assert [shared_memory_of(process.pid) for process in serving] == [[], [], []]


def test_a_server_that_hangs_is_ended_with_serving(repository):
    process = serve("--repository", repository, *FREE_PORTS)
    "".join(iter_until("Ctrl-C stops it", process.stdout))
    (triton,) = children_of(process.pid)
    os.kill(triton.pid, signal.SIGSTOP)  # heeds nothing from now on
    time.sleep(2)  # the watchdog asks it

    process.send_signal(signal.SIGTERM)

    process.communicate(timeout=40)
    assert running_in_session(triton.pid) == []
    assert shared_memory_of(process.pid) == []


def iter_until(mark, lines):
    for line in lines:
        yield line
        if mark in line:
            return


def test_a_start_removes_the_shared_memory_of_killed_starters_only(repository, server):
    dead = subprocess.Popen(["true"])
    dead.wait()
    stale = Path(f"/dev/shm/asl_triton_{dead.pid}_0123_left")
    stale.touch()
    (repository / "asl_fused_1" / "1" / "model.py").write_text("no Python")

    with pytest.raises(InputError) as caught:
        TritonServer(repository).start()

    assert not stale.exists()
    assert shared_memory_of(os.getpid())  # of the server of all tests
    # and the start that failed says why, in one line
    assert "tritonserver ended with code 1" in str(caught.value)
    assert "asl_fused_1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_server_is_reachable_from_this_machine_only(server):
    addresses = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if line.split()[3] == "0A" and int(port, 16) in server.ports:
                addresses.add((address[-8:], int(port, 16)))  # or IPv6-mapped

    assert addresses == {("0100007F", port) for port in server.ports}


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--repository", "/no/such"], "no model has been deployed there"),
        (["--http-port", "70000"], "port 70000 cannot be used"),
        (["--docker"], "ocker"),
    ],
)
def test_what_cannot_be_served_ends_with_one_line_and_code_2(
    options, expected, repository
):
    serving = serve(
        *("--repository", repository, *FREE_PORTS, *options), env=without_docker()
    )

    output, errors = serving.communicate(timeout=30)

    assert serving.returncode == 2
    assert expected in errors
    assert len(errors.splitlines()) == 1


def test_only_a_server_of_this_very_repository_is_found_and_the_note_goes_with_it(
    repository, tmp_path, server
):
    with running_server.noted(server.repository, server.grpc_url, server.http_url):
        urls = {"grpc": server.grpc_url, "http": server.http_url}
        assert running_server.find(server.repository) == urls
    assert not list(server.repository.glob(".server-*.json"))

    # a copy of the repository has the note too
    with running_server.noted(repository, server.grpc_url, server.http_url):
        shutil.copytree(repository, tmp_path / "copy")
    assert running_server.find(tmp_path / "copy") is None

    # left by one that was killed
    program = (
        "import os, sys; from pipelines.serving import running_server as r\n"
        "with r.noted(sys.argv[1], 'a:1', 'a:2'): os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, repository], cwd=ROOT, check=True)
    assert list(repository.glob(".server-*.json"))
    assert running_server.find(repository) is None
    with running_server.noted(repository, "b:1", "b:2"):  # takes the other's away
        assert len(list(repository.glob(".server-*.json"))) == 1


def test_of_two_servers_on_one_repository_each_is_found_as_long_as_it_runs(repository):
    first, second = {"grpc": "a:1", "http": "a:2"}, {"grpc": "a:3", "http": "a:4"}
    with running_server.noted(repository, *first.values()):
        with running_server.noted(repository, *second.values()):
            assert running_server.find(repository) == second
        assert running_server.find(repository) == first
    with ExitStack() as outer:
        with running_server.noted(repository, *first.values()):
            outer.enter_context(running_server.noted(repository, *second.values()))
        assert running_server.find(repository) == second
    assert running_server.find(repository) is None


def test_a_path_that_the_backend_cannot_take_is_refused(repository, tmp_path):
    moved = repository.rename(tmp_path / "my models")
    with pytest.raises(InputError, match="my models has a space in it"):
        TritonServer(moved).start()


def without_docker():
    """An environment in which no Docker engine can be reached."""
    return {**os.environ, "DOCKER_HOST": "unix:///nowhere/docker.sock"}


def test_a_port_in_use_is_named():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]

        with pytest.raises(InputError, match=f"port {port} cannot be used"):
            pick_ports(port, 0, 0)


def test_free_ports_differ():
    assert len(set(pick_ports(0, 0, 0))) == 3


def test_numpy_2_is_refused_in_the_serving_environment(monkeypatch):
    # this very environment has one, and would pass wrong bytes to the models
    monkeypatch.setattr(serving_environment, "SERVING_PYTHON", Path(sys.executable))

    with pytest.raises(InputError, match="numpy 2.* needs one below 2; run scripts"):
        serving_environment.describe()


def test_a_missing_serving_environment_is_told_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(serving_environment, "SERVING_PYTHON", tmp_path / "python")

    with pytest.raises(InputError, match="is missing; run scripts/setup serving"):
        serving_environment.describe()
