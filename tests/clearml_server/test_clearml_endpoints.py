"""Calls that people make through APIClient and web interfaces, and what they answer."""

import time

import pytest


@pytest.fixture(scope="module")
def project(embedded):
    return embedded.data("projects.create", {"name": "Endpoints"})["id"]


@pytest.fixture
def new_task(embedded, project):
    def make(**fields):
        body = {"name": "a task", "type": "training", "project": project}
        return embedded.data("tasks.create", body | fields)["id"]

    return make


def period(interval=3600):
    now = time.time()
    return {"from_date": now - 7200, "to_date": now + 60, "interval": interval}


def test_full_answers_carry_names_beside_ids(embedded, project, new_task):
    parent = new_task(name="the parent")
    model = embedded.data("models.create", {"name": "input", "uri": "file:///x"})["id"]
    entry = {"name": "input", "model": model}
    task = new_task(parent=parent, models={"input": [entry], "output": []})
    found = embedded.data("tasks.get_all_ex", {"id": [task]})["tasks"][0]
    assert found["project"] == {"id": project, "name": "Endpoints"}
    assert found["parent"] == {"id": parent, "name": "the parent"}
    assert found["user"]["name"] and found["company"]["name"]
    assert found["models"]["input"][0]["model"] == {"id": model, "name": "input"}
    body = {"id": [task], "only_fields": ["project.name"]}
    found = embedded.data("tasks.get_all_ex", body)["tasks"]
    assert found == [{"id": task, "project": {"name": "Endpoints"}}]
    plain = embedded.data("tasks.get_all", {"id": [task]})["tasks"][0]
    assert plain["project"] == project
    every = embedded.data("tasks.get_all", {"id": [task], "projection": ["*"]})["tasks"]
    assert every == [plain]
    answer = embedded.data(
        "tasks.get_all", {"project": [project], "page_size": 1, "count_total": True}
    )
    assert len(answer["tasks"]) == 1 and answer["total"] >= 2


def test_projects_are_counted(embedded, new_task):
    project = embedded.data("projects.create", {"name": "Counted"})["id"]
    below = embedded.data("projects.create", {"name": "Counted/below"})["id"]
    done = new_task(project=below)
    embedded.data("tasks.started", {"task": done})
    embedded.data("tasks.completed", {"task": done})
    embedded.data("tasks.archive", {"tasks": [new_task(project=project)]})
    body = {"id": [project], "include_stats": True, "check_own_contents": True}
    (found,) = embedded.data("projects.get_all_ex", body)["projects"]
    assert set(found["stats"]) == {"active"}
    assert found["sub_projects"] == [{"id": below, "name": "Counted/below"}]
    body["stats_for_state"] = None  # both
    (found,) = embedded.data("projects.get_all_ex", body)["projects"]
    active, archived = found["stats"]["active"], found["stats"]["archived"]
    assert active["status_count"]["completed"] == 1 == active["completed_tasks_24h"]
    assert active["status_count"]["failed"] == 0 and active["total_tasks"] == 1
    assert active["total_runtime"] >= 0 and archived["total_tasks"] == 1
    assert (found["own_tasks"], found["own_models"]) == (0, 0)  # but archived ones
    counted = embedded.data("projects.validate_delete", {"project": project})
    assert (counted["tasks"], counted["non_archived_tasks"]) == (2, 1)
    assert counted["datasets"] == counted["non_archived_pipelines"] == 0


def test_facts_of_a_project_say_what_to_filter_by(embedded, new_task):
    project = embedded.data("projects.create", {"name": "Facts"})["id"]
    for value in ("0.1", "0.2", "0.1"):
        params = {"Args": {"lr": {"value": value}}}
        parent = new_task(project=project, hyperparams=params)
    child = new_task(project=project, parent=parent)
    body = {"project": project}
    found = embedded.data("projects.get_hyper_parameters", body)
    assert found["parameters"] == [{"section": "Args", "name": "lr"}]
    body = {"projects": [project], "section": "Args", "name": "lr"}
    found = embedded.data("projects.get_hyperparam_values", body)
    assert found == {"total": 2, "values": ["0.1", "0.2"]}
    parents = embedded.data("projects.get_task_parents", {"projects": [project]})
    assert [one["id"] for one in parents["parents"]] == [parent] != [child]
    metadata = [{"key": "letters", "value": "26", "type": "int"}]
    model = {"name": "model", "uri": "x", "project": project, "metadata": metadata}
    embedded.data("models.create", model)
    found = embedded.data("projects.get_model_metadata_keys", {"project": project})
    assert found["keys"] == ["letters"]
    body = {"projects": [project], "key": "letters"}
    assert embedded.data("projects.get_model_metadata_values", body)["values"] == ["26"]
    assert embedded.data("projects.get_user_names", {"projects": [project]})["users"]


def test_a_merged_project_is_gone_and_its_contents_are_not(embedded, new_task):
    ids = {}
    for name in ("Source", "Source/child", "Target"):
        ids[name] = embedded.data("projects.create", {"name": name})["id"]
    task = new_task(project=ids["Source"])
    below = new_task(project=ids["Source/child"])
    body = {"project": ids["Source"], "destination_project": ids["Target"]}
    assert embedded.data("projects.merge", body) == {
        "moved_entities": 1,
        "moved_projects": 1,
    }
    found = embedded.data("tasks.get_all_ex", {"id": [task, below]})["tasks"]
    names = {one["id"]: one["project"]["name"] for one in found}
    assert names == {task: "Target", below: "Target/child"}
    assert embedded.call("projects.get_by_id", {"project": ids["Source"]})[0] == 400
    body = {"project": ids["Target"], "destination_project": ids["Source/child"]}
    assert embedded.call("projects.merge", body)[0] == 400


def test_plots_and_images_can_be_gone_through(embedded, new_task):
    task = new_task()
    for i in range(3):
        for variant in ("a", "b"):
            image = {"type": "training_debug_image", "task": task, "metric": "seen"}
            plot = {"type": "plot", "task": task, "metric": "drawn", "plot_str": "{}"}
            place = {"variant": variant, "iter": i, "url": f"x/{variant}{i}"}
            embedded.data("events.add_batch", lines=[image | place, plot | place])
    body = {"metrics": [{"task": task, "metric": "drawn"}], "iters": 1}
    seen = []
    for _ in range(3):
        answer = embedded.data("events.plots", body)
        (found,) = answer["metrics"][0]["iterations"]
        assert len(found["events"]) == 2
        seen.append(found["iter"])
        body["scroll_id"] = answer["scroll_id"]
    assert seen == [2, 1, 0]
    body |= {"navigate_earlier": False}
    found = embedded.data("events.plots", body)["metrics"][0]["iterations"]
    assert found[0]["iter"] == 1
    body = {"task": task, "metric": "seen", "variant": "b"}
    sample = embedded.data("events.get_debug_image_sample", body)
    assert (sample["event"]["iter"], sample["min_iteration"]) == (2, 0)
    body = {"task": task, "scroll_id": sample["scroll_id"]}
    found = embedded.data("events.next_debug_image_sample", body)
    assert (found["event"]["iter"], found["event"]["variant"]) == (2, "a")
    found = embedded.data(
        "events.next_debug_image_sample", body | {"next_iteration": True}
    )
    assert (found["event"]["iter"], found["event"]["variant"]) == (1, "b")
    later = body | {"navigate_earlier": False}
    answer = embedded.data("events.next_debug_image_sample", later)
    assert answer["event"] is None and answer["scroll_id"] == body["scroll_id"]
    body = {"task": task, "metric": "drawn", "iteration": 1}
    sample = embedded.data("events.get_plot_sample", body)
    assert [event["variant"] for event in sample["events"]] == ["a", "b"]
    body = {"task": task, "scroll_id": sample["scroll_id"], "navigate_earlier": False}
    found = embedded.data("events.next_plot_sample", body)
    assert {event["iter"] for event in found["events"]} == {2}
    code, _ = embedded.call("events.next_plot_sample", {"task": task, "scroll_id": "?"})
    assert code == 400


def test_points_of_a_metric_and_metrics_of_tasks(embedded, new_task):
    tasks = [new_task(), new_task()]
    for task, metric in zip(tasks, ("loss", "accuracy")):
        event = {"type": "training_stats_scalar", "task": task, "metric": metric}
        lines = [event | {"variant": "v", "value": i, "iter": i} for i in range(5)]
        embedded.data("events.add_batch", lines=lines)
    body = {"task": tasks[0], "metric": "loss"}
    found = embedded.data("events.get_scalar_metric_data", body)
    assert [event["value"] for event in found["events"]] == [0, 1, 2, 3, 4]
    body["metric"] = "accuracy"
    assert embedded.data("events.get_scalar_metric_data", body)["total"] == 0
    found = embedded.data("events.get_multi_task_metrics", {"tasks": tasks})["metrics"]
    assert found == [
        {"metric": "accuracy", "variants": ["v"]},
        {"metric": "loss", "variants": ["v"]},
    ]


def test_tasks_without_the_metric_come_last_in_either_order(embedded, new_task):
    project = embedded.data("projects.create", {"name": "Ordered"})["id"]
    tasks = [new_task(project=project) for _ in range(3)]
    for task, value in zip(tasks, (1, 2)):
        event = {"type": "training_stats_scalar", "task": task, "metric": "m"}
        embedded.data(
            "events.add_batch", lines=[event | {"variant": "v", "value": value}]
        )
    found = embedded.data("tasks.get_by_id", {"task": tasks[0]})["task"]["last_metrics"]
    ((metric, variants),) = found.items()
    path = f"last_metrics.{metric}.{next(iter(variants))}.value"
    for order, expected in ((path, [0, 1, 2]), (f"-{path}", [1, 0, 2])):
        body = {"project": [project], "order_by": [order], "only_fields": ["id"]}
        found = embedded.data("tasks.get_all", body)["tasks"]
        assert [tasks.index(task["id"]) for task in found] == expected


def test_tags_of_many_tasks_and_models_change_at_once(embedded, new_task):
    tasks = [new_task(tags=["old", "kept"]), new_task()]
    body = {"ids": tasks, "add_tags": ["new"], "remove_tags": ["old"]}
    assert embedded.data("tasks.update_tags", body)["updated"] == 2
    found = embedded.data("tasks.get_all", {"id": tasks})["tasks"]
    assert [task["tags"] for task in found] == [["kept", "new"], ["new"]]
    model = embedded.data("models.create", {"name": "tagged", "uri": "x"})["id"]
    embedded.data("models.update_tags", {"ids": [model], "add_tags": ["new"]})
    (found,) = embedded.data("models.get_by_id_ex", {"id": [model]})["models"]
    assert found["tags"] == ["new"]
    lines = [{"task": task, "name": f"renamed {i}"} for i, task in enumerate(tasks)]
    assert embedded.data("tasks.update_batch", lines=lines)["updated"] == 2
    code, _ = embedded.call(
        "tasks.update_batch", lines=[*lines, {"task": tasks[0], "x": 1}]
    )
    assert code == 400


def test_workers_and_queues_are_measured(embedded, new_task):
    worker, queue = "measured:1", embedded.data("queues.get_default")["id"]
    task = new_task()
    embedded.data("workers.register", {"worker": worker, "queues": [queue]})
    stats = {"cpu_usage": [10.5, 20.5], "memory_used": 1234.5}
    report = {"worker": worker, "timestamp": 1, "machine_stats": stats, "task": task}
    embedded.data("workers.status_report", report)
    keys = embedded.data("workers.get_metric_keys", {"worker_ids": [worker]})
    assert {"name": "cpu", "metric_keys": ["cpu_usage"]} in keys["categories"]
    items = [{"key": "cpu_usage", "category": kind} for kind in ("avg", "max")]
    body = period() | {"items": items, "worker_ids": [worker]}
    (found,) = embedded.data("workers.get_stats", body)["workers"]
    (metric,) = found["metrics"]
    assert [one["values"][-1] for one in metric["stats"]] == [15.5, 20.5]
    assert metric["dates"][-1] > (time.time() - 3700) * 1000  # milliseconds
    body["split_by_variant"] = True
    (found,) = embedded.data("workers.get_stats", body)["workers"]
    assert [metric["variant"] for metric in found["metrics"]] == ["0", "1"]
    report = embedded.data("workers.get_activity_report", period())
    assert report["total"]["counts"][-1] >= 1 <= report["active"]["counts"][-1]
    body = {"queue": queue, "task": task}
    embedded.data("queues.add_task", body)
    found = embedded.data("tasks.get_by_id", {"task": task})["task"]
    assert found["execution"]["queue"] == queue
    body = period() | {"queue_ids": [queue]}
    (found,) = embedded.data("queues.get_queue_metrics", body)["queues"]
    assert max(found["queue_lengths"]) >= 1
    embedded.data("queues.remove_task", {"queue": queue, "task": task})
    embedded.data("workers.unregister", {"worker": worker})
    code, _ = embedded.call("queues.get_queue_metrics", period(interval=0))
    assert code == 400


def test_a_worker_is_listed_for_as_long_as_it_said(embedded):
    embedded.data("workers.register", {"worker": "brief:1", "timeout": 1})
    embedded.data("workers.register", {"worker": "long:1", "timeout": 600})
    deadline = time.monotonic() + 20
    while True:
        found = {w["id"] for w in embedded.data("workers.get_all")["workers"]}
        if "brief:1" not in found:
            break
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "long:1" in found
    for name in ("brief:1", "long:1"):
        embedded.data("workers.unregister", {"worker": name})


def test_a_model_that_another_task_names_survives_a_reset(embedded, new_task):
    task = new_task()
    model = {"name": "made", "uri": "x", "task": task, "ready": False}
    model = embedded.data("models.create", model)["id"]
    new_task(execution={"model": model})
    embedded.data("tasks.reset", {"task": task, "force": True})
    assert embedded.data("models.get_by_id", {"model": model})["model"]["id"] == model


def test_a_pipeline_is_started_again_with_other_arguments(embedded, project, new_task):
    params = {"Args": {"lr": {"value": "0.1"}, "epochs": {"value": "3"}}}
    run = new_task(type="controller", system_tags=["pipeline"], hyperparams=params)
    body = {"task": run, "args": [{"name": "lr", "value": "0.5"}]}
    answer = embedded.data("pipelines.start_pipeline", body)
    found = embedded.data("tasks.get_by_id", {"task": answer["pipeline"]})["task"]
    values = {
        name: item["value"] for name, item in found["hyperparams"]["Args"].items()
    }
    assert answer["enqueued"] and values == {"lr": "0.5", "epochs": "3"}
    assert found["status"] == "queued" and found["system_tags"] == ["pipeline"]
    services = embedded.data("queues.get_all", {"name": "^services$"})["queues"][0]
    assert found["execution"]["queue"] == services["id"]
    body = {"project": project, "ids": [answer["pipeline"]]}
    done = embedded.data("pipelines.delete_runs", body)
    assert [one["id"] for one in done["succeeded"]] == body["ids"]
    code, _ = embedded.call("pipelines.delete_runs", {"project": project, "ids": [run]})
    assert code == 400  # the last one stays


def test_things_of_an_account(embedded):
    counts = embedded.data(
        "organization.get_entities_count", {"tasks": {}, "models": {}}
    )
    assert set(counts) == {"tasks", "models"} and counts["tasks"] > 0
    body = {"tasks": {"dreams": ["x"]}}
    assert embedded.call("organization.get_entities_count", body)[0] == 400
    embedded.data("users.set_preferences", {"preferences": {"columns": ["a"]}})
    embedded.data("users.set_preferences", {"preferences": {"dark": True}})
    found = embedded.data("users.get_preferences")["preferences"]
    assert found == {"columns": ["a"], "dark": True}
    assert "sso" in embedded.data("login.supported_modes")
