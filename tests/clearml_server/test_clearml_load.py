"""Load: nothing is lost, memory stays small; the figures are printed (pytest -s)."""

import hashlib
import http.client
import json
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TASKS, POINTS = 1000, 1000
REPORTING, FIRST = 100, 20  # of the tasks have points; the memory is read after FIRST
CLIENTS, ROUNDS = 16, 10
# Far more than the server's memory may grow by, while points of 80 tasks arrive: held
# in memory, they would take more than twice as much.
GROWTH_MIB = 10


def peak_memory(server):
    """Most memory the server ever used, MiB; None where the kernel does not tell."""
    return memory(server, "VmHWM")


def memory(server, what="VmRSS"):
    """What the server uses now, MiB; None where the kernel does not tell."""
    try:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
    except OSError:
        return None
    return int(status.split(f"{what}:")[1].split()[0]) / 1024


def scalars(task, metric, first, count):
    return [
        {
            "type": "training_stats_scalar",
            "task": task,
            "metric": metric,
            "variant": "train",
            "iter": first + i,
            "value": (first + i) / 2,
            "timestamp": 1_700_000_000_000 + i,
        }
        for i in range(count)
    ]


def in_parallel(work):
    """Run `work(client)` for all clients at once; re-raise what went wrong."""
    errors = []

    def guarded(client):
        try:
            work(client)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(c,)) for c in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.fixture(scope="module")
def loaded(embedded_in, tmp_path_factory):
    """A server with 1,000 tasks, of which 100 have 1,000 points each."""
    server = embedded_in(tmp_path_factory.mktemp("loaded")).start()
    project = server.data("projects.create", {"name": "Load"})["id"]
    made = time.perf_counter()
    ids = []
    for i in range(TASKS):
        body = {
            "name": f"task {i}",
            "type": "training",
            "project": project,
            "tags": [f"tag {i % 10}"],
            "script": {"diff": "x" * 5000},
            "hyperparams": {"Args": {f"p{j}": {"value": str(j)} for j in range(20)}},
        }
        ids.append(server.data("tasks.create", body)["id"])
    made = time.perf_counter() - made
    lines = "\n".join(map(json.dumps, scalars("ID", "loss", 0, POINTS)))
    headers = {"Content-Type": "application/json-lines"}
    headers["Authorization"] = (
        f"Bearer {server.data('auth.login')['token']}"  # as the SDK does
    )
    took = time.perf_counter()
    for number, id_ in enumerate(ids[:REPORTING]):
        if number == FIRST:
            server.early_mib = memory(server)
        code, answer = server.http(
            "POST",
            "/v2.23/events.add_batch",
            lines.replace("ID", id_).encode(),
            headers,
            as_json=True,
        )
        assert (code, answer["data"]["added"]) == (200, POINTS)
    took = time.perf_counter() - took
    count = REPORTING * POINTS
    print(f"\n{TASKS} tasks made in {made:.1f} s; {count} scalars in ", end="")
    print(f"{took:.1f} s, {count / took:,.0f}/s")
    yield server, ids, project
    server.stop()


def test_all_points_are_there_and_memory_does_not_grow_with_them(loaded):
    server, ids, _ = loaded
    if server.early_mib:
        now = memory(server)
        print(f"\n{server.early_mib:.1f} MiB, then {now:.1f}")
        assert now - server.early_mib < GROWTH_MIB
    for id_ in (ids[0], ids[REPORTING - 1]):
        curve = server.data("events.scalar_metrics_iter_histogram", {"task": id_})
        assert curve["loss"]["train"]["y"] == [i / 2 for i in range(POINTS)]
        body = {"task": id_, "event_type": "training_stats_scalar", "batch_size": 300}
        seen = []
        while (page := server.data("events.get_task_events", body))["events"]:
            seen += [event["iter"] for event in page["events"]]
            body["scroll_id"] = page["scroll_id"]
        assert seen == list(range(POINTS))
    few = server.data(
        "events.scalar_metrics_iter_histogram", {"task": ids[0], "samples": 10}
    )["loss"]["train"]
    assert few["x"] == list(range(0, 1000, 100))
    assert few["y"] == [(i + 49.5) / 2 for i in few["x"]]
    most = peak_memory(server)
    print(f"\npeak memory {most} MiB")
    assert most is None or most < 100


def test_queries_among_a_thousand_tasks(loaded):
    server, ids, project = loaded
    metric = hashlib.md5(b"loss").hexdigest() + "." + hashlib.md5(b"train").hexdigest()
    few = ["id", "name", "status"]
    queries = {
        "by id": ({"id": [ids[500]]}, 1),
        "by exact name": ({"name": "^task 77$", "only_fields": few}, 1),
        "by tag": ({"project": [project], "tags": ["tag 3"], "only_fields": few}, 100),
        "by parameter": ({"hyperparams.Args.p3.value": ["4"], "only_fields": few}, 0),
        "best by metric": (
            {
                "order_by": [f"-last_metrics.{metric}.max_value"],
                "page": 0,
                "page_size": 20,
                "only_fields": few,
            },
            20,
        ),
        "of an unknown system tag": ({"system_tags": ["dataset"]}, 0),
    }
    print()
    for name, (body, count) in queries.items():
        times = []
        for _ in range(3):
            start = time.perf_counter()
            answer = server.data("tasks.get_all", body)
            times.append(time.perf_counter() - start)
            assert len(answer["tasks"]) == count
        print(f"{name}: median {sorted(times)[1] * 1000:.1f} ms")


def test_sixteen_clients_at_once_lose_nothing(loaded):
    server, ids, _ = loaded
    shared = ids[0]

    def work(client):
        for i in range(ROUNDS):
            events = scalars(shared, f"client {client}", i * 10, 10)
            events.append({"type": "log", "task": shared, "msg": f"{client} {i}"})
            server.data("events.add_batch", lines=events)
            artifact = {"key": f"{client} {i}", "type": "x", "mode": "output"}
            body = {"task": shared, "artifacts": [artifact]}
            server.data("tasks.add_or_update_artifacts", body)
            param = {"section": "Args", "name": f"{client} {i}", "value": "1"}
            body = {"task": shared, "hyperparams": [param]}
            server.data("tasks.edit_hyper_params", body)

    start = time.perf_counter()
    in_parallel(work)
    took = time.perf_counter() - start
    calls = CLIENTS * ROUNDS * 3
    print(f"\n{CLIENTS} clients: {calls} calls in {took:.1f} s, {calls / took:.0f}/s")
    task = server.data("tasks.get_by_id", {"task": shared})["task"]
    names = {f"{client} {i}" for client in range(CLIENTS) for i in range(ROUNDS)}
    assert {a["key"] for a in task["execution"]["artifacts"]} == names
    assert names < set(task["hyperparams"]["Args"])
    curves = server.data("events.scalar_metrics_iter_histogram", {"task": shared})
    for client in range(CLIENTS):
        curve = curves[f"client {client}"]["train"]
        assert curve["y"] == [i / 2 for i in range(ROUNDS * 10)]
    logs = server.data("events.get_task_log", {"task": shared, "batch_size": 9999})
    assert {event["msg"] for event in logs["events"]} == names


def test_one_task_of_a_queue_goes_to_one_of_many_agents(loaded):
    server, ids, _ = loaded
    for id_ in ids[:100]:
        server.data("tasks.enqueue", {"task": id_, "queue_name": "default"})
    queue = server.data("queues.get_all", {"name": "^default$"})["queues"][0]["id"]
    taken = []

    def work(client):
        while answer := server.data("queues.get_next_task", {"queue": queue}):
            taken.append(answer["entry"]["task"])

    in_parallel(work)
    assert sorted(taken) == sorted(ids[:100])


def test_a_large_file_passes_through_in_pieces(loaded):
    server, _, _ = loaded
    size, piece = 1 << 28, bytes(range(256)) * 4096  # far more than may be in memory
    token = server.data("auth.login")["token"]
    head = (
        b'--b\r\nContent-Disposition: form-data; name="large.bin"; '
        b'filename="large.bin"\r\n\r\n'
    )
    tail = b"\r\n--b--\r\n"

    def body():
        yield head
        for _ in range(size // len(piece)):
            yield piece
        yield tail

    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "multipart/form-data; boundary=b",
        "Content-Length": str(len(head) + size + len(tail)),
    }
    start = time.perf_counter()
    host = server.address.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=120)
    connection.request("POST", "/files", body(), headers)
    assert connection.getresponse().status == 200
    up = time.perf_counter() - start
    start = time.perf_counter()
    connection = http.client.HTTPConnection(host, timeout=120)
    connection.request(
        "GET", "/files/large.bin", headers=headers | {"Content-Length": "0"}
    )
    answer = connection.getresponse()
    received = 0
    while part := answer.read(len(piece)):
        at = received % 256
        assert part[:256] == (piece + piece)[at : at + len(part[:256])]
        received += len(part)
    assert received == size
    down = time.perf_counter() - start
    print(f"\nup {size / up / 1e6:.0f} MB/s, down {size / down / 1e6:.0f} MB/s")
    most = peak_memory(server)
    assert most is None or most < 100
