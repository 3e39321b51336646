"""Changes of status: allowed and refused as by the real server."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clearml_server import documents
from pipelines.clearml_server.calls import Call, run
from pipelines.clearml_server.errors import ApiError
from pipelines.clearml_server.server import Server
from pipelines.clearml_server.services import queues
from pipelines.clearml_server.storage import QUEUE, TASK


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("statuses"))
    yield server
    server.close()


def act(server, endpoint, **data):
    return run(Call(endpoint, data, [], "2.23", "tester", server))


def read(server, id_):
    return act(server, "tasks.get_by_id", task=id_)["task"]


def new_task(server, **fields):
    return act(server, "tasks.create", name="a task", type="custom", **fields)["id"]


def draft_model(server, task):
    fields = {"name": "model", "uri": "http://u", "ready": False}
    return act(server, "models.create", task=task, **fields)["id"]


def queued(server):
    with server.storage.read() as db:
        entries = documents.select(db, QUEUE, "1", (), ["entries"])
    return [entry["task"] for queue in entries for entry in queue.get("entries", [])]


# What each action makes of each status; what is not here is refused.
RESULTS = {
    "started": dict.fromkeys(
        ["created", "queued", "stopped", "completed", "in_progress"], "in_progress"
    ),
    "stopped": dict.fromkeys(
        ["in_progress", "queued", "failed", "closed", "stopped"], "stopped"
    ),
    "stop": dict.fromkeys(
        ["in_progress", "queued", "failed", "closed", "stopped"], "stopped"
    ),
    "failed": dict.fromkeys(["in_progress", "stopped", "closed", "failed"], "failed"),
    "completed": dict.fromkeys(["in_progress", "stopped", "completed"], "completed"),
    "close": dict.fromkeys(["stopped", "closed"], "closed"),
    "publish": dict.fromkeys(["stopped", "closed", "failed", "completed"], "published"),
    "enqueue": dict.fromkeys(["created", "stopped", "failed"], "queued"),
    "reset": dict.fromkeys(
        "created queued in_progress stopped closed failed completed".split(), "created"
    ),
}
actions = st.sampled_from([*RESULTS, "dequeue", "archive", "clone"])


@settings(max_examples=200, deadline=None)
@given(st.lists(actions, max_size=12))
def test_any_sequence_of_actions_keeps_to_the_rules(server, sequence):
    id_, status, before_queue = new_task(server), "created", None
    for action in sequence:
        expected = RESULTS.get(action, {}).get(status)
        if action == "dequeue":
            waits = status in ("queued", "in_progress")
            expected = (before_queue or "created") if waits else status
        elif action == "archive":
            expected = {"queued": before_queue, "in_progress": "stopped"}.get(
                status, status
            )
        elif action == "clone":
            expected = status
        try:
            if action == "archive":
                act(server, "tasks.archive", tasks=[id_])
            else:
                answer = act(server, f"tasks.{action}", task=id_)
        except ApiError as error:
            assert expected is None, (action, status, error)
            already = action == "enqueue" and status == "queued"
            code = 706 if already else 110
            assert (error.code, error.subcode) == (400, code)
            expected = status
        else:
            assert expected is not None, (action, status)
            if action == "enqueue":
                before_queue = status
            elif action == "reset":
                before_queue = None
            elif action in ("archive", "dequeue") and status in (
                "queued",
                "in_progress",
            ):
                before_queue = None
        if action == "clone":
            clone = read(server, answer["id"])
            assert clone["status"] == "created" and clone["parent"] == id_
        status = expected
        task = read(server, id_)
        assert task["status"] == status
        assert (id_ in queued(server)) == (status == "queued")
        assert ("published" in task) == (status == "published")
    act(server, "tasks.delete", task=id_, force=True)
    with pytest.raises(ApiError, match="Invalid task id"):
        read(server, id_)
    assert id_ not in queued(server)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([*RESULTS]), min_size=1, max_size=8))
def test_force_overrules_the_rules(server, sequence):
    id_ = new_task(server)
    for action in sequence:
        if action == "enqueue":
            queues_before = queued(server).count(id_)
            if queues_before:
                continue
        act(server, f"tasks.{action}", task=id_, force=True)
    assert read(server, id_)["status"]


def test_an_edit_wants_a_new_task_or_force(server):
    id_ = new_task(server)
    act(server, "tasks.edit", task=id_, script={"branch": "main", "entry_point": "a"})
    act(server, "tasks.started", task=id_)
    with pytest.raises(ApiError, match="expected=created, status=in_progress"):
        act(server, "tasks.edit", task=id_, name="other")
    act(server, "tasks.edit", task=id_, script={"branch": "dev"}, force=True)
    act(server, "tasks.edit", task=id_, runtime={"a": 1}, force=True)
    act(server, "tasks.edit", task=id_, runtime={"b": 2}, force=True)
    task = read(server, id_)
    assert task["script"] == {"branch": "dev", "entry_point": "a"}  # merged
    assert task["runtime"] == {"b": 2}  # replaced


def test_a_reset_keeps_what_a_person_gave_and_drops_what_the_run_made(server):
    id_ = new_task(
        server,
        hyperparams={"Args": {"lr": {"value": "1"}}},
        execution={
            "artifacts": [
                {"key": "in", "mode": "input", "type": "x"},
                {"key": "out", "mode": "output", "type": "x"},
            ]
        },
    )
    act(server, "tasks.started", task=id_)
    model = draft_model(server, id_)
    act(
        server,
        "tasks.add_or_update_model",
        task=id_,
        name="out",
        type="output",
        model=model,
    )
    act(server, "tasks.edit", task=id_, runtime={"a": 1}, force=True)
    answer = act(server, "tasks.reset", task=id_)
    assert answer["deleted_models"] == 1
    task = read(server, id_)
    assert task["hyperparams"]["Args"]["lr"]["value"] == "1"
    assert [a["key"] for a in task["execution"]["artifacts"]] == ["in"]
    assert task["models"]["output"] == [] and task["runtime"] == {}
    assert "started" not in task
    with pytest.raises(ApiError, match="Invalid model id"):
        act(server, "models.get_by_id", model=model)


def test_a_clone_takes_the_plan_but_not_the_results(server):
    id_ = new_task(
        server,
        tags=["good"],
        system_tags=["development", "archived", "kept"],
        hyperparams={"Args": {"lr": {"value": "1"}}},
        configuration={"c": {"name": "c", "value": "v"}},
        output_dest="file:///elsewhere",
        runtime={"a": 1},
        execution={"artifacts": [{"key": "o", "mode": "output", "type": "x"}]},
    )
    clone = read(server, act(server, "tasks.clone", task=id_)["id"])
    assert clone["tags"] == ["good"] and clone["system_tags"] == ["kept"]
    assert clone["hyperparams"] == read(server, id_)["hyperparams"]
    assert clone["configuration"]["c"]["value"] == "v"
    assert clone["output"] == {"destination": "file:///elsewhere"}
    assert clone["execution"]["artifacts"] == [] and clone["runtime"] == {}
    moved = act(
        server,
        "tasks.clone",
        task=id_,
        new_project_name="New/Place",
        new_task_name="n1x",
    )
    task = read(server, moved["id"])
    assert task["name"] == "n1x" and task["project"] == moved["new_project"]["id"]


def test_a_stop_asks_the_worker_that_runs_the_task(server):
    id_ = new_task(server)
    act(server, "workers.register", worker="w:0", queues=[])
    act(server, "tasks.started", task=id_)
    act(server, "workers.status_report", worker="w:0", timestamp=1, task=id_)
    act(server, "tasks.stop", task=id_)
    task = read(server, id_)
    assert (task["status"], task["status_message"]) == ("in_progress", "stopping")
    worker = act(server, "workers.get_all")["workers"][0]
    assert worker["task"] == {"id": id_, "name": "a task"}
    act(server, "workers.unregister", worker="w:0")
    with pytest.raises(ApiError, match="Worker is not registered"):
        act(server, "workers.unregister", worker="w:0")


def test_a_queue_gives_each_task_once_in_order(server):
    queue = act(server, "queues.create", name="ordered")["id"]
    ids = [new_task(server) for _ in range(4)]
    for id_ in ids:
        act(server, "tasks.enqueue", task=id_, queue=queue)
    act(server, "queues.move_task_to_front", queue=queue, task=ids[2])
    act(server, "queues.move_task_backward", queue=queue, task=ids[0])
    with pytest.raises(ApiError, match="Queue is not empty"):
        act(server, "queues.delete", queue=queue)
    taken = []
    while answer := act(server, "queues.get_next_task", queue=queue):
        taken.append(answer["entry"]["task"])
    assert taken == [ids[2], ids[1], ids[0], ids[3]]
    assert all(read(server, id_)["status"] == "queued" for id_ in ids)
    with pytest.raises(ApiError) as caught:
        act(server, "queues.get_next_task", queue="ordered")
    assert (caught.value.code, caught.value.subcode) == (400, 701)


def test_published_things_protect_their_task(server):
    id_ = new_task(server)
    act(server, "tasks.started", task=id_)
    model = draft_model(server, id_)
    with pytest.raises(ApiError, match="Invalid status change"):
        act(server, "models.set_ready", model=model)
    act(server, "tasks.completed", task=id_)
    assert act(server, "models.set_ready", model=model)["published_task"]["id"] == id_
    assert read(server, id_)["status"] == "published"
    with pytest.raises(ApiError, match="Model is ready"):
        act(server, "models.set_ready", model=model)
    act(server, "tasks.archive", tasks=[id_])
    with pytest.raises(ApiError, match="has published models"):
        act(server, "tasks.delete", task=id_)
    with pytest.raises(ApiError, match="Invalid task status"):
        act(server, "tasks.reset", task=id_)
    act(server, "tasks.delete", task=id_, force=True)
    assert act(server, "models.get_by_id", model=model)["model"]["task"].endswith(id_)


def test_a_batch_reports_each_refusal_and_does_the_rest(server):
    good, bad = new_task(server), new_task(server)
    act(server, "tasks.started", task=good)
    answer = act(server, "tasks.stop_many", ids=[good, bad, "nothing"])
    assert [item["id"] for item in answer["succeeded"]] == [good]
    codes = {item["id"]: item["error"]["codes"] for item in answer["failed"]}
    assert codes == {bad: [400, 110], "nothing": [400, 101]}
    with server.storage.read() as db:
        assert documents.get(db, TASK, good, "status") == {"status": "stopped"}
        assert queues.is_watched(db, "nothing") is False
