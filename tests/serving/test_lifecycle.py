"""Starting and stopping: what is refused, what is said, what is left behind."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from leftovers import children_of, processes, running_in_session, shared_memory_of
from matrix_model import expect

from benchmarks.broken_requests import largest_shape
from benchmarks.mutated_requests import send_bytes
from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines.repository import versions
from pipelines.repository.model_config import Settings
from pipelines.serving import (
    bounded_log,
    model_control,
    model_processes,
    running_server,
    serving_environment,
)
from pipelines.serving.client import TritonClient
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
        assert shared_memory_of(process.pid, triton.pid)
        servers.append(triton.pid)
    assert running_server.find(repository)["grpc"] in addresses

    for process, number in zip(serving, numbers):
        process.send_signal(number)

    for process, number in zip(serving, numbers):
        _, errors = process.communicate(timeout=30)
        if number != signal.SIGKILL:
            code = 130 if number == signal.SIGINT else 0
            assert (process.returncode, errors) == (code, "")
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


def test_a_start_ends_the_model_processes_of_killed_servers_only(repository, home):
    """As they were left by a server that was killed while it started."""
    program = home / "triton/backends-0/python" / model_processes.STUB
    program.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/sleep", program)
    shell = ["sh", "-c", f"{program} 600 >/dev/null & echo $!; read line"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    servers = [subprocess.Popen(shell, start_new_session=True, **pipes) for _ in "ab"]
    left, kept = (int(server.stdout.readline()) for server in servers)
    servers[0].communicate()
    (repository / "asl_fused_1" / "1" / "model.py").write_text("no Python")

    with pytest.raises(InputError):
        TritonServer(repository).start()

    assert left not in {x.pid for x in processes()}
    assert kept in {x.pid for x in processes()}
    servers[1].communicate()
    os.kill(kept, signal.SIGKILL)


def test_a_start_removes_the_shared_memory_of_killed_starters_only(repository, server):
    dead = subprocess.Popen(["true"])
    dead.wait()
    stale = Path(f"/dev/shm/asl_triton_{dead.pid}_0123_left")
    stale.touch()
    mine = Path(f"/dev/shm/asl_triton_{os.getpid()}_0123_mine")
    mine.touch()
    (repository / "asl_fused_1" / "1" / "model.py").write_text("no Python")

    with pytest.raises(InputError) as caught:
        TritonServer(repository).start()

    assert not stale.exists()
    assert mine.exists()
    mine.unlink()
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
        (["--repository", "/no/such"], "there; make one with scripts/quickstart, or"),
        (["--http-port", "70000"], "70000 is no port"),
        (["--docker"], "ocker"),
    ],
)
def test_what_cannot_be_served_ends_with_one_line_and_code_2(
    options, expected, repository
):
    command = ["--repository", repository, *FREE_PORTS, *options]
    serving = serve(*command, env=without_docker())

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
    for number, damaged in enumerate(("", "[]", "{}")):
        (repository / f".server-{number}.json").write_text(damaged)
    assert running_server.find(repository) is None
    with running_server.noted(repository, "b:1", "b:2"):  # takes the others' away
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


def test_any_path_can_be_served_from(repository, tmp_path):
    moved = repository.rename(tmp_path / "my models; it's $(here) & *")
    temporary = set(Path("/tmp").glob("asl-triton-*"))
    with TritonServer(moved) as server:
        assert model_control.probe(server.grpc_url) is None
        assert set(Path("/tmp").glob("asl-triton-*")) - temporary
    assert set(Path("/tmp").glob("asl-triton-*")) <= temporary


def test_what_passes_through_shared_memory_is_hidden_from_other_users(server):
    """Where the system has namespaces for its users, as this one does or does not."""
    here = server.shared_memory
    regions = [x for x in here.iterdir() if x.name.startswith(server.shm_prefix)]
    assert regions
    own = not here.samefile("/dev/shm")
    allowed = subprocess.run(
        ["unshare", "--user", "--mount", "--map-root-user", "true"]
    )
    assert own or allowed.returncode
    if own:
        assert stat.S_IMODE(here.stat().st_mode) == 0o700
        assert not shared_memory_of(os.getpid())


def test_a_log_stays_small_while_the_server_goes_on_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded_log, "INTERVAL_S", 0.01)
    path = tmp_path / "log"
    with open(path, "ab", buffering=0) as log, bounded_log.bounded(path, 1000):
        log.write(b"x" * 2000)
        deadline = time.monotonic() + 10
        while path.stat().st_size and time.monotonic() < deadline:
            time.sleep(0.01)
        log.write(b"and on")
    assert path.read_bytes() == b"and on"
    assert (tmp_path / "log.1").stat().st_size == 2000


def test_a_log_is_cut_where_no_copy_of_it_can_be_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded_log, "INTERVAL_S", 0.01)
    path = tmp_path / "log"
    (tmp_path / "log.1").mkdir()
    with bounded_log.bounded(path, 1000):
        for _ in range(2):
            path.write_bytes(b"x" * 2000)
            deadline = time.monotonic() + 10
            while path.stat().st_size:
                assert time.monotonic() < deadline
                time.sleep(0.01)


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


def test_a_proxy_is_not_asked_for_what_runs_here(repository, photographs):
    """One that takes connections and never answers, as a firewall may."""
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "grpc_proxy")
        kept = {k: v for k, v in os.environ.items() if not k.lower().startswith("no_")}
        environment = kept | dict.fromkeys(names, address)
        with serve("--repository", repository, *FREE_PORTS, env=environment) as serving:
            said = "".join(iter_until("Ctrl-C stops it", serving.stdout))
            for protocol, pattern in (("grpc", r"gRPC\s+(\S+)"), ("http", "//(.*:.*)")):
                url = re.search(pattern, said).group(1)
                assert protocol == "http" or f"client.py --url {url} --image" in said
                path = photographs["wide.jpg"]
                command = [sys.executable, ROOT / "triton/client/client.py"]
                command += ["--url", url, "--protocol", protocol, "--image", path]
                done = subprocess.run(
                    command, env=environment, capture_output=True, timeout=60
                )
                assert (done.returncode, done.stderr) == (0, b"model asl, version 1\n")
            serving.send_signal(signal.SIGINT)
            assert serving.wait(30) == 130


def test_a_server_that_a_request_has_ended_is_back_at_its_address(
    repository, artifacts, photographs
):
    """By the shape of a tensor in JSON, which Triton 24.10 takes for its size."""
    file = photographs["wide.jpg"].read_bytes()
    with serve("--repository", repository, *FREE_PORTS) as serving:
        said = "".join(iter_until("Ctrl-C stops it", serving.stdout))
        grpc_url = re.search(r"gRPC\s+(\S+)", said).group(1)
        http_url = re.search(r"//(.*:.*)", said).group(1)
        request = largest_shape(None, file)
        assert send_bytes(http_url, request) == "closed"

        again = "".join(iter_until("Ctrl-C stops it", serving.stdout))
        assert "tritonserver ended with code -6; see " in again
        assert grpc_url in again and http_url in again
        with TritonClient(grpc_url) as ask:
            answer = ask([file])
        np.testing.assert_allclose(answer, expect(artifacts, [file]), atol=1e-5)
        serving.send_signal(signal.SIGINT)
        assert serving.wait(30) == 130
