"""Rules of the real server that clients rely on, one test each."""

import pytest


@pytest.fixture
def new_task(embedded):
    def make(**fields):
        body = {"name": "a task", "type": "training"}
        return embedded.data("tasks.create", body | fields)["id"]

    return make


@pytest.fixture
def new_project(embedded):
    def make(name, **fields):
        return embedded.data("projects.create", {"name": name} | fields)["id"]

    return make


# ---- events


def test_curves_of_several_tasks_are_of_the_metrics_asked_for(embedded, new_task):
    tasks = [new_task(), new_task()]
    for task, metric in zip(tasks, ("loss", "accuracy")):
        event = {"type": "training_stats_scalar", "task": task, "metric": metric}
        lines = [event | {"variant": "v", "value": i, "iter": i} for i in range(5)]
        embedded.data("events.add_batch", lines=lines)
    body = {"tasks": tasks, "metrics": [{"metric": "loss", "variants": ["v"]}]}
    name = "events.multi_task_scalar_metrics_iter_histogram"
    curves = embedded.data(name, body)["metrics"]
    assert set(curves) == {"loss"} and set(curves["loss"]["v"]) == {tasks[0]}
    body = {"task": tasks[0], "metric": {"metric": "loss"}, "batch_size": 2}
    sizes = []
    while not sizes or sizes[-1]:
        page = embedded.data("events.scalar_metrics_iter_raw", body)
        sizes.append(page["returned"])
        body["scroll_id"] = page["scroll_id"]
        body.pop("batch_size", None)  # a scroll keeps it
    assert sizes == [2, 2, 1, 0]
    for wrong in ("1:2", "a:1:2", f"1:{10**18 * 9 + 10**18}:5", "1:2:3:4"):
        body["scroll_id"] = wrong
        assert embedded.call("events.scalar_metrics_iter_raw", body)[0] == 400


def test_models_report_as_tasks_do(embedded):
    model = embedded.data("models.create", {"name": "reports", "uri": "x"})["id"]
    event = {"task": model, "metric": "m", "variant": "v", "model_event": True}
    scalar = event | {"type": "training_stats_scalar", "value": 1, "iter": 2}
    plot = event | {"type": "plot", "plot_str": "{}", "iter": 2}
    embedded.data("events.add_batch", lines=[scalar, plot])
    body = {"tasks": [model], "model_events": True}
    name = "events.multi_task_scalar_metrics_iter_histogram"
    curves = embedded.data(name, body)["metrics"]
    assert curves["m"]["v"][model] == {"name": "reports", "x": [2], "y": [1]}
    plots = embedded.data("events.get_multi_task_plots", body)["plots"]
    assert plots["m"]["v"][model]["2"]["name"] == "reports"
    assert embedded.call("events.get_multi_task_plots", {"tasks": [model]})[0] == 400


def test_an_image_that_was_written_over_is_shown_where_it_was_last(embedded, new_task):
    task = new_task()
    image = {"type": "training_debug_image", "task": task, "metric": "m"}
    lines = [
        image | {"variant": "v", "iter": i, "url": f"x/{i % 2}.png"} for i in range(5)
    ]
    embedded.data("events.add_batch", lines=lines)
    body = {"metrics": [{"task": task}], "iters": 9}
    (found,) = embedded.data("events.debug_images", body)["metrics"]
    assert [one["iter"] for one in found["iterations"]] == [4, 3]
    body = {"task": task, "metric": "m", "variant": "v"}
    sample = embedded.data("events.get_debug_image_sample", body)
    assert (sample["min_iteration"], sample["max_iteration"]) == (3, 4)


def test_going_through_plots_stays_in_place_until_it_is_refreshed(embedded, new_task):
    task = new_task()
    plot = {"type": "plot", "task": task, "metric": "m", "variant": "v"}
    plot |= {"plot_str": "{}"}
    embedded.data("events.add_batch", lines=[plot | {"iter": i} for i in range(4)])
    body = {"metrics": [{"task": task}], "iters": 3}

    def go(**more):
        answer = embedded.data("events.plots", body | more)
        body["scroll_id"] = answer["scroll_id"]
        return [one["iter"] for one in answer["metrics"][0]["iterations"]]

    assert go() == [3, 2, 1]
    embedded.data("events.add_batch", lines=[plot | {"iter": 4}])
    assert go() == [0]
    assert go() == []  # the end, where it stays
    assert go(navigate_earlier=False) == [3, 2, 1]
    assert go(refresh=True) == [4, 3, 2]
    assert go(navigate_earlier=False) == []
    for wrong in ("7", "[]", "[[1]]", '[["a", 1]]', "{", '[{"iter": 1}]'):
        code, _ = embedded.call("events.plots", body | {"scroll_id": wrong})
        assert code == 400, wrong


def test_a_sample_that_does_not_exist_is_null(embedded, new_task):
    body = {"task": new_task(), "metric": "nothing", "variant": "a"}
    answer = embedded.data("events.get_debug_image_sample", body)
    assert answer["event"] is answer["min_iteration"] is answer["max_iteration"] is None
    body.pop("variant")
    answer = embedded.data("events.get_plot_sample", body)
    assert answer["events"] == [] and answer["max_iteration"] is None


def test_a_single_value_reported_again_is_the_last_value(embedded, new_task):
    task = new_task(name="with single values")
    event = {"type": "training_stats_scalar", "task": task, "metric": "m"}
    for iteration, value in ((-(2**31), 1), (5, 2), (-(2**31), 3)):
        line = event | {"variant": "v", "iter": iteration, "value": value}
        embedded.data("events.add_batch", lines=[line])
    body = {"tasks": [task], "metrics": [{"metric": "m"}]}
    (found,) = embedded.data("events.get_task_single_value_metrics", body)["tasks"]
    assert (found["task_name"], found["values"][0]["value"]) == (
        "with single values",
        3,
    )
    body["metrics"] = [{"metric": "another"}]
    assert embedded.data("events.get_task_single_value_metrics", body)["tasks"] == []
    last = embedded.data("events.get_task_latest_scalar_values", {"task": task})
    assert last["metrics"][0]["variants"][0]["last_value"] == 3
    assert last["last_iter"] == 5


def test_console_lines_are_found_and_cleared_by_metric(embedded, new_task):
    task = new_task()
    line = {"type": "log", "task": task, "msg": "text"}
    embedded.data("events.add_batch", lines=[line, line | {"metric": "m"}])

    def count(**more):
        return embedded.data("events.get_task_log", {"task": task} | more)["total"]

    assert (count(), count(metrics=[{"metric": "m"}])) == (2, 1)
    embedded.data("events.clear_task_log", {"task": task, "exclude_metrics": ["m"]})
    assert count() == 1
    embedded.data("events.clear_task_log", {"task": task, "include_metrics": ["m"]})
    assert count() == 0
    model = embedded.data("models.create", {"name": "no console", "uri": "x"})["id"]
    refused = line | {"task": model, "model_event": True}
    assert embedded.call("events.add_batch", lines=[refused])[0] == 400


# ---- queues and workers


def test_queues_have_names_for_people_and_some_are_hidden(embedded, new_task):
    body = {"name": "gpu-a100-x2", "display_name": "Two A100"}
    queue = embedded.data("queues.create", body)["id"]
    task, worker = new_task(), "shown:1"
    embedded.data("workers.register", {"worker": worker, "queues": [queue]})
    embedded.data("tasks.enqueue", {"task": task, "queue": queue})
    fields = {"id": [task], "only_fields": ["execution.queue.display_name"]}
    (found,) = embedded.data("tasks.get_all_ex", fields)["tasks"]
    assert found["execution"] == {"queue": {"display_name": "Two A100"}}
    (found,) = embedded.data("queues.get_all_ex", {"id": [queue]})["queues"]
    (listening,) = found["workers"]
    assert (listening["name"], listening["ip"]) == (worker, "127.0.0.1")
    found = embedded.data("workers.get_all")["workers"]
    (found,) = [one for one in found if one["key"] == listening["key"]]
    assert found["queues"][0]["display_name"] == "Two A100"
    body = {"name": "of a program", "system_tags": ["k8s-glue"]}
    hidden = embedded.data("queues.create", body)["id"]
    for request, seen in (
        ({}, False),
        ({"search_hidden": True}, True),
        ({"name": "of a prog"}, True),
        ({"id": [hidden]}, True),
    ):
        found = embedded.data("queues.get_all_ex", request)["queues"]
        assert (hidden in [one["id"] for one in found]) == seen
    embedded.data("workers.unregister", {"worker": worker})
    for id_ in (queue, hidden):
        embedded.data("queues.delete", {"queue": id_, "force": True})


# ---- projects


def test_a_project_with_datasets_or_pipelines_is_not_deleted_by_accident(
    embedded, new_task, new_project
):
    for kind, type_ in (("dataset", "data_processing"), ("pipeline", "controller")):
        top = new_project(f"Parent of a {kind}")
        name = f"Parent of a {kind}/.{kind}s/one"
        below = new_project(name, system_tags=[kind])
        new_task(project=below, type=type_, system_tags=[kind])
        counted = embedded.data("projects.validate_delete", {"project": top})
        assert counted[f"{kind}s"] == 1
        code, answer = embedded.call("projects.delete", {"project": top})
        assert code == 400 and kind in answer["meta"]["result_msg"]
        body = {"project": top, "force": True, "delete_contents": True}
        done = embedded.data("projects.delete", body)
        assert done["deleted_tasks"] == 1 and done["deleted"] == 3


def test_a_deleted_project_names_the_files_of_its_models(
    embedded, new_task, new_project
):
    project = new_project("With models")
    task = new_task(project=project)
    for ready in (True, False):
        body = {"name": "a model", "uri": f"file:///{ready}", "task": task}
        embedded.data("models.create", body | {"project": project, "ready": ready})
    body = {"project": project, "force": True, "delete_contents": True}
    done = embedded.data("projects.delete", body)
    assert done["deleted_models"] == 2
    assert set(done["urls"]["model_urls"]) == {"file:///True", "file:///False"}


def test_projects_are_found_by_who_works_in_them(embedded, new_task, new_project):
    ids = [new_project("Active a"), new_project("Active b")]
    new_task(project=new_project("Active b/below"))
    me = embedded.data("users.get_current_user")["user"]["id"]
    for user, expected in ((me, {ids[1]}), ("nobody", set())):
        body = {"id": ids, "active_users": [user]}
        found = embedded.data("projects.get_all_ex", body)["projects"]
        assert {one["id"] for one in found} == expected
    for project, count in ((ids[0], 0), (ids[1], 1)):
        body = {"active_in_projects": [project]}
        assert len(embedded.data("users.get_all_ex", body)["users"]) == count


def test_facts_include_the_projects_below(embedded, new_task, new_project):
    top, below = new_project("Facts above"), new_project("Facts above/below")
    new_task(project=below, type="optimizer", tags=["only below"])
    model = {"name": "a model", "uri": "x", "project": below, "framework": "Rare"}
    embedded.data("models.create", model)
    body = {"projects": [top]}
    assert embedded.data("tasks.get_types", body)["types"] == ["optimizer"]
    assert embedded.data("models.get_frameworks", body)["frameworks"] == ["Rare"]
    assert embedded.data("projects.get_task_tags", body)["tags"] == ["only below"]


def test_projects_are_not_moved_or_renamed_onto_others(embedded, new_project):
    one = new_project("Named one")
    new_project("Named two")
    below = {"project": one, "new_location": "Named one/below"}
    for call, body, code in (
        ("projects.update", {"project": one, "name": "Named two"}, 801),
        ("projects.update", {"project": one, "name": "else/Named one"}, 408),
        ("projects.create", {"name": "/"}, 407),
        ("projects.move", below, 411),
    ):
        answer = embedded.call(call, body)[1]
        assert answer["meta"]["result_subcode"] == code, answer


def test_a_dataset_says_how_large_it_is(embedded, new_task, new_project):
    project = new_project("A dataset", system_tags=["dataset"])
    body = {"id": [project], "include_dataset_stats": True}
    (found,) = embedded.data("projects.get_all_ex", body)["projects"]
    assert found["dataset_stats"] is None
    task = new_task(project=project)
    runtime = {"ds_file_count": 2, "ds_total_size": 1000}
    embedded.data("tasks.edit", {"task": task, "runtime": runtime})
    (found,) = embedded.data("projects.get_all_ex", body)["projects"]
    assert found["dataset_stats"] == {"file_count": 2, "total_size": 1000}


# ---- tasks and models


def test_metadata_is_a_list_or_a_dictionary(embedded):
    item = {"key": "a", "type": "str", "value": "1"}
    for service, fields in (("models", {"uri": "x"}), ("queues", {})):
        one = service.rstrip("s")
        for number, form in enumerate(([item], {"a": item}, {"a": {"value": "1"}})):
            body = {"name": f"metadata {number}", "metadata": form} | fields
            id_ = embedded.data(f"{service}.create", body)["id"]
            (found,) = embedded.data(f"{service}.get_all_ex", {"id": [id_]})[service]
            kept = found["metadata"]["a"]
            assert (kept["key"], kept["value"]) == ("a", "1")
            change = {one: id_, "metadata": {"b": item | {"key": "b"}}}
            embedded.data(f"{service}.update", change)
            (found,) = embedded.data(f"{service}.get_all_ex", {"id": [id_]})[service]
            assert set(found["metadata"]) == {"b"}
            embedded.data(f"{service}.delete", {one: id_})
        wrong = body | {"metadata": {"a": "text"}}
        assert embedded.call(f"{service}.create", wrong)[0] == 400


def test_parameters_of_old_clients_are_where_todays_are(embedded, new_task):
    old = {"parameters": {"lr": "0.1", "TF_DEFINE/depth": 3}}
    old["model_desc"] = {"net": "x"}
    task = new_task(execution=old, hyperparams={"Net": {"width": {"value": "8"}}})

    def read():
        return embedded.data("tasks.get_by_id", {"task": task})["task"]

    found = read()
    values = {
        f"{section}/{name}": item["value"]
        for section, items in found["hyperparams"].items()
        for name, item in items.items()
    }
    assert values == {"Net/width": "8", "Args/lr": "0.1", "TF_DEFINE/depth": "3"}
    assert found["configuration"]["net"]["value"] == "x"
    assert "parameters" not in found["execution"]
    execution = {"parameters": {"lr": "0.2"}}
    embedded.data("tasks.edit", {"task": task, "execution": execution})
    found = read()["hyperparams"]
    assert set(found) == {"Net", "Args"} and found["Args"]["lr"]["value"] == "0.2"


def test_a_clone_refers_to_what_exists(embedded, new_task):
    model = embedded.data("models.create", {"name": "gone soon", "uri": "x"})["id"]
    task = new_task(execution={"model": model})
    embedded.data("models.delete", {"model": model, "force": True})
    embedded.data("tasks.clone", {"task": task})
    overrides = {"execution_overrides": {"model": "nothing"}}
    for more in ({"validate_references": True}, overrides):
        code, answer = embedded.call("tasks.clone", {"task": task} | more)
        assert (code, answer["meta"]["result_subcode"]) == (400, 201)


def test_a_task_keeps_the_trace_of_a_deleted_model_that_it_used(embedded, new_task):
    model = embedded.data("models.create", {"name": "used", "uri": "x"})["id"]
    task = new_task(models={"input": [{"name": "in", "model": model}], "output": []})
    assert embedded.call("models.delete", {"model": model})[0] == 400
    embedded.data("models.delete", {"model": model, "force": True})
    found = embedded.data("tasks.get_by_id", {"task": task})["task"]["models"]["input"]
    assert [one["model"] for one in found] == [f"__DELETED__{model}"]
    embedded.data("tasks.clone", {"task": task})


def test_a_task_as_it_is_read_can_be_validated(embedded, new_task):
    task = new_task(hyperparams={"Args": {"lr": {"value": "1"}}})
    found = embedded.data("tasks.get_by_id", {"task": task})["task"]
    embedded.data("tasks.validate", found)
    assert embedded.call("tasks.validate", found | {"dreams": 1})[0] == 400
    assert embedded.call("tasks.validate", found | {"type": "dream"})[0] == 400


def test_archiving_notes_who_asked_and_why(embedded, new_task):
    task = new_task()
    said = {"status_message": "a message", "status_reason": "a reason"}
    embedded.data("tasks.archive", {"tasks": [task]} | said)
    found = embedded.data("tasks.get_by_id", {"task": task})["task"]
    assert said == {name: found[name] for name in said}
    assert "archived" in found["system_tags"]


def test_artifacts_are_listed_by_key(embedded, new_task):
    artifacts = [{"key": key, "type": "x", "uri": "y"} for key in "bca"]
    task = new_task(execution={"artifacts": artifacts})
    body = {"task": task, "artifacts": [{"key": "B", "type": "x", "uri": "y"}]}
    embedded.data("tasks.add_or_update_artifacts", body)
    found = embedded.data("tasks.get_by_id", {"task": task})["task"]["execution"]
    assert [one["key"] for one in found["artifacts"]] == ["B", "a", "b", "c"]


def test_a_scroll_that_is_refreshed_shows_all_that_it_has_shown(
    embedded, new_task, new_project
):
    project = new_project("Scrolled")
    tasks = [new_task(project=project) for _ in range(5)]
    body, seen = {"project": [project], "size": 2, "order_by": ["created"]}, []
    for _ in range(3):
        answer = embedded.data("tasks.get_all_ex", body)
        seen += [task["id"] for task in answer["tasks"]]
        body["scroll_id"] = answer["scroll_id"]
    answer = embedded.data("tasks.get_all_ex", body | {"refresh_scroll": True})
    assert [task["id"] for task in answer["tasks"]] == seen == tasks


def test_what_is_missing_is_excluded_too(embedded, new_task, new_project):
    project = new_project("Untagged")
    tagged, bare = (new_task(project=project, tags=tags) for tags in (["a"], []))
    for group, expected in (
        ({"any": {"exclude": [None]}}, {tagged}),
        ({"any": {"exclude": ["a", None]}}, {tagged, bare}),
        ({"all": {"exclude": ["a", None]}}, set()),
        ({"all": {"include": ["a", None]}}, set()),
    ):
        body = {"project": [project], "filters": {"tags": group}}
        found = embedded.data("tasks.get_all_ex", body)["tasks"]
        assert {task["id"] for task in found} == expected
