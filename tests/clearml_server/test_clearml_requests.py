"""Requests that are wrong, large or malicious: refused by name, and harmless."""

import base64
import json
import socket
import threading
import time
import urllib.request

import pytest
from test_clearml_load import peak_memory

from pipelines.clearml_server import calls, json_schema, schemas, sdk_schemas, web
from pipelines.clearml_server.errors import ApiError
from pipelines.clearml_server.server import Server

WRONG = ["text", 10**30, -1, 1.5, True, {"a": 1}, {}, [1], [{}], [None], ""]


def fuzzed():
    """Each call with each of its fields wrong in every way, the others plausible."""
    plain = {"string": "x", "integer": 1, "number": 1, "boolean": True}
    for name in sorted(calls.names() - {"embedded.lease"}):
        schema = schemas.of(name)
        base = {}
        for field in schema["required"]:
            kind = schema["properties"].get(field, {}).get("type", "string")
            kind = kind if isinstance(kind, str) else kind[0]
            base[field] = plain.get(kind, [] if kind == "array" else {})
        fields = [*schema["properties"], *list(base)]
        if name in schemas.QUERIES:
            fields += [*schemas.QUERIES[name].columns, "hyperparams.a.b.value"]
        for field in dict.fromkeys(fields):
            for value in WRONG:
                yield name, base | {field: value}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("fuzzed"))
    yield server
    server.close()


def test_no_request_of_wrong_types_is_a_fault_of_the_server(server):
    def answer(name, body):
        data, batch = calls.parse_body(json.dumps(body).encode(), "", {})
        call = calls.Call(name, data, batch, "", "", server)
        return calls.envelope(name, "", calls.run(call), None)

    known = json.loads(answer("tasks.create", {"name": "fuzzed", "type": "custom"}))
    faults, count = [], 0
    for name, body in fuzzed():
        if body.get("task") == "x":
            body = body | {"task": known["data"]["id"]}
        count += 1
        try:
            answer(name, body)
        except ApiError as error:
            assert error.code < 500
        except Exception as error:  # what a client would see as 500
            faults.append((name, body, repr(error)))
    assert count > 5000
    assert not faults, f"{len(faults)} of {count}: {faults[:10]}"


def test_fields_that_do_not_exist_are_refused(embedded):
    for name, body in (
        ("tasks.get_all", {"taggs": ["a"]}),
        ("tasks.get_all_ex", {"input.view.entries.dataset": ["a"]}),
        ("events.get_task_log", {"task": "x", "dreams": ["a"]}),
        ("workers.get_all", {"dreams": ["a"]}),
        ("tasks.delete_many", {"ids": [], "only_failed": True}),
        ("tasks.get_all", {"_any_": {"fields": ["dreams"], "pattern": "a"}}),
    ):
        code, answer = embedded.call(name, body)
        assert code == 400, (name, answer)
        assert "field" in answer["meta"]["result_msg"].lower()


def test_filters_in_the_long_form_filter(embedded):
    project = embedded.data("projects.create", {"name": "Long filters"})["id"]
    tags = {"a": ["a"], "ab": ["a", "b"], "b": ["b"], "none": []}
    for name, found in tags.items():
        body = {"name": f"task {name}", "type": "custom", "project": project}
        embedded.data("tasks.create", body | {"tags": found})

    def names(**filters):
        body = {"project": [project], "filters": filters, "only_fields": ["name"]}
        found = embedded.data("tasks.get_all_ex", body)["tasks"]
        return {task["name"][5:] for task in found}

    assert names(tags={"any": {"include": ["a"]}}) == {"a", "ab"}
    assert names(tags={"any": {"include": ["a", None]}}) == {"a", "ab", "none"}
    assert names(tags={"any": {"exclude": ["a", "b"]}}) == {"a", "b", "none"}
    assert names(tags={"all": {"include": ["a", "b"]}}) == {"ab"}
    assert names(tags={"all": {"exclude": ["a", "b"]}}) == {"none"}
    either = {"any": {"include": ["b"]}, "all": {"exclude": ["a"]}}
    assert names(tags=either) == {"b"}
    assert names(tags=either | {"op": "or"}) == {"ab", "b", "none"}
    for wrong in ({"tags": {"some": {}}}, {"dreams": {}}, {"tags": {"any": ["a"]}}):
        code, _ = embedded.call("tasks.get_all_ex", {"filters": wrong})
        assert code == 400


def test_workers_are_filtered_by_their_tags(embedded):
    for name, tags in (("w:a", ["a"]), ("w:b", ["b"])):
        embedded.data("workers.register", {"worker": name, "tags": tags})
    found = embedded.data("workers.get_all", {"tags": ["a"]})["workers"]
    assert [worker["id"] for worker in found] == ["w:a"]
    assert embedded.data("workers.get_count", {"tags": ["a"]})["count"] == 1
    for name in ("w:a", "w:b"):
        embedded.data("workers.unregister", {"worker": name})


def test_no_pattern_keeps_the_server_from_answering(embedded):
    body = {"name": "a" * 60 + "!", "type": "custom", "comment": "a" * 15_000 + "!"}
    for _ in range(20):
        embedded.data("tasks.create", body)
    patterns = [
        "^(a+)+$",
        "(a*)*b$",
        "(a|aa)+$",
        "^(a?){900}(a?){900}$",
        "(.*)(.*)(.*)(.*)(.*)x",
        "((((a?){30}){30}){30}){30}",
    ]
    for pattern in patterns:
        start = time.perf_counter()
        search = {"_all_": {"fields": ["name", "comment"], "pattern": pattern}}
        for request in ({"name": pattern}, search):
            view = f"/view/tasks.get_all?request={json.dumps(request)}"
            code, _ = embedded.http("GET", view.replace(" ", "").replace("+", "%2B"))
            assert code in (200, 400), pattern
        # what is bounded: two seconds of matching a call, however busy the machine is
        assert time.perf_counter() - start < 60, pattern
    code, answer = embedded.call("tasks.get_all", {"name": "(?!a)b"})
    assert code == 400 and "perl operator" in answer["meta"]["result_msg"]
    assert embedded.data("debug.ping")["msg"] == "embedded"


def test_texts_and_trees_that_no_file_can_hold_are_no_fault(embedded):
    key = {"Authorization": f"Bearer {embedded.data('auth.login')['token']}"}
    for depth in (200, 5_000, 100_000):
        body = b'{"name": "deep", "type": "custom", "runtime": {"a": %s}}' % (
            b"[" * depth + b"]" * depth
        )
        assert embedded.http("POST", "/tasks.create", body, key)[0] == 400
    body = b'{"name": "half \\ud800 a character", "type": "custom"}'
    code, answer = embedded.http("POST", "/tasks.create", body, key, as_json=True)
    assert code == 200
    found = embedded.data("tasks.get_by_id", {"task": answer["data"]["id"]})["task"]
    assert found["name"] == "half ? a character"


def test_requests_without_a_key_take_no_memory(own_embedded):
    """Headers and bodies as large as they come, on many connections at once."""
    own_embedded.start()
    host, port = own_embedded.address.removeprefix("http://").split(":")
    before = peak_memory(own_embedded)
    if before is None:
        pytest.skip("this kernel does not tell")
    lines = b"".join(b"X-%d: %s\r\n" % (i, b"x" * 60_000) for i in range(90))
    body = b"x" * 4_000_000
    heads = [
        b"POST /tasks.create HTTP/1.1\r\n" + lines,
        b"POST /tasks.create HTTP/1.1\r\nContent-Length: 60000000\r\n\r\n" + body,
        b"PUT /files/a HTTP/1.1\r\nContent-Length: 60000000\r\n\r\n" + body,
        b"POST /view/login HTTP/1.1\r\nContent-Length: 60000000\r\n\r\n" + body,
    ]

    def send(head):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            try:
                connection.sendall(head)
                connection.recv(100)
            except OSError:
                pass  # it hung up, as it should

    threads = [
        threading.Thread(target=send, args=[h]) for h in heads for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert own_embedded.data("debug.ping")
    assert peak_memory(own_embedded) < before + 40


@pytest.fixture
def small_server(tmp_path, monkeypatch):
    """A server with few places and little patience."""
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 8)
    monkeypatch.setattr(web, "HEAD_SECONDS", 2.0)
    monkeypatch.setattr(web, "BODY_SECONDS", 1.0)
    server = Server(tmp_path)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.stop()
    thread.join(timeout=20)


def slow_clients(server, number, head, drip):
    """Connections that have sent `head`, and threads that add a byte now and then."""
    port = int(server.address.rpartition(":")[2])
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(number)]

    def send(client):
        try:
            client.sendall(head)
            while drip:
                client.sendall(b"x")
                time.sleep(0.1)
        except OSError:
            pass  # it was ended

    threads = [threading.Thread(target=send, args=[one]) for one in clients]
    for thread in threads:
        thread.start()
    return clients, threads


def wait_until_ended(clients, threads):
    for client in clients:
        client.settimeout(20)
        try:
            while client.recv(1000):
                pass
        except ConnectionError:
            pass
        client.close()
    for thread in threads:
        thread.join()


def key_of(server):
    keys = server.gate.credentials
    pair = f"{keys['access_key']}:{keys['secret_key']}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def ping(server):
    request = urllib.request.Request(f"{server.address}/debug.ping")
    request.headers |= key_of(server)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.0\r\nHost: "])
@pytest.mark.parametrize("drip", [False, True])
def test_clients_that_dawdle_are_ended_and_stop_nobody(small_server, head, drip):
    """Twice as many as there are places; they send nothing more, or a byte a while."""
    slow = slow_clients(small_server, 16, head, drip)
    for _ in range(3):
        assert ping(small_server) == 200
    wait_until_ended(*slow)


@pytest.mark.parametrize("drip", [False, True])
def test_a_body_that_does_not_come_is_not_waited_for(small_server, drip):
    headers = "".join(f"{k}: {v}\r\n" for k, v in key_of(small_server).items())
    head = f"POST /tasks.get_all HTTP/1.0\r\n{headers}Content-Length: 100\r\n\r\n"
    wait_until_ended(*slow_clients(small_server, 8, head.encode(), drip))
    assert ping(small_server) == 200


def words_of(schema, of_fields=False):
    """The words of JSON Schema that are used anywhere in a schema."""
    if isinstance(schema, dict):
        words = set() if of_fields else set(schema)
        for name, inner in schema.items():
            words |= words_of(inner, name in ("properties", "definitions"))
        return words
    if isinstance(schema, list):
        return set().union(*map(words_of, schema))
    return set()


def test_nothing_in_a_schema_is_passed_over():
    for name in calls.names() - set(calls.BATCHES):
        assert words_of(schemas.of(name)) <= json_schema.KNOWN, name


@pytest.mark.parametrize(
    "value, schema, fits",
    [
        (1, {"type": "integer"}, True),
        (True, {"type": "integer"}, False),
        (1.5, {"type": "integer"}, False),
        (True, {"type": ["string", "boolean"]}, True),
        (None, {"oneOf": [{"$ref": "#/definitions/kind"}, {"type": "null"}]}, True),
        ("b", {"oneOf": [{"$ref": "#/definitions/kind"}, {"type": "null"}]}, False),
        ({"x": {"y": 1}}, {"additionalProperties": {"required": ["y"]}}, True),
        ({"x": {}}, {"additionalProperties": {"required": ["y"]}}, False),
        (
            [{"n": 1}, {"n": "a"}],
            {"items": {"properties": {"n": {"type": "number"}}}},
            False,
        ),
        ({"n": ["a"]}, {"properties": {"n": {"items": {"enum": ["a"]}}}}, True),
        ("", {"type": "string", "minLength": 1}, False),
    ],
)
def test_values_fit_their_schema_or_not(value, schema, fits):
    definitions = {"kind": {"enum": ["a"], "type": "string"}}
    assert (json_schema.fault(value, schema, definitions) is None) == fits


def test_schemas_are_those_of_the_installed_sdk():
    assert schemas.FILE.read_text() == sdk_schemas.as_text()
    for name in calls.names():
        assert schemas.of(name)["properties"] is not None
    for name in schemas.names_of_sdk() - calls.names():
        assert calls.why_absent(name), f"{name} is neither answered nor refused by name"
