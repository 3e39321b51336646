"""The page's tables, comparison and acts, in a real browser, at two widths."""

import json
import time

import browser
import pytest

from pipelines.clearml_server.auth import LOGIN, Gate

pytestmark = pytest.mark.slow

WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if browser.find() is None:
        pytest.skip("no chromium on this machine (scripts/setup browser installs it)")
    tab = browser.Browser(tmp_path_factory.mktemp("chromium"))
    yield tab
    tab.close()


@pytest.fixture(scope="module")
def trainings(embedded):
    """Three trainings in a project, with a parameter and a curve; the last failed."""
    project = embedded.data("projects.create", {"name": "Compared"})["id"]
    tasks = []
    for i, rate in enumerate(("0.1", "0.2", "0.3")):
        params = {"Args": {"rate": {"value": rate}, "epochs": {"value": "5"}}}
        body = {"name": f"training {i}", "type": "training", "project": project}
        body |= {"hyperparams": params, "tags": [f"set {i % 2}"]}
        task = embedded.data("tasks.create", body)["id"]
        embedded.data("tasks.started", {"task": task})
        event = {"type": "training_stats_scalar", "task": task, "metric": "loss"}
        lines = [
            event | {"variant": "v", "iter": n, "value": (i + 1) / (n + 1)}
            for n in range(40)
        ]
        embedded.data("events.add_batch", lines=lines)
        act = "tasks.failed" if i == 2 else "tasks.completed"
        embedded.data(act, {"task": task})
        tasks.append(task)
    return {"project": project, "tasks": tasks}


def listed(tab):
    """Names of the trainings in the table, in its order."""
    return tab.run(
        "[...document.querySelectorAll('tbody td.name a')].map(a => a.textContent)"
        ".filter(name => name.startsWith('training'))"
    )


def wait_until(tab, look, expected):
    deadline = time.monotonic() + browser.SECONDS
    while (seen := look(tab)) != expected:
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)


def press(tab, title):
    tab.run(
        f"[...document.querySelectorAll('button')].find(one => one.innerText.trim() "
        f"=== {json.dumps(title)}).click()"
    )


def test_a_table_is_searched_filtered_and_sorted_and_the_address_keeps_it(
    embedded, chromium, trainings
):
    address = f"{embedded.address}/projects/{trainings['project']}"
    chromium.open(address).wait_for("training 2")
    chromium.run("document.querySelector('input[type=search]').focus()")
    for letter in "ng 1":
        chromium.send("Input.insertText", text=letter)
    wait_until(chromium, listed, ["training 1"])
    assert chromium.run("document.activeElement.type") == "search"
    assert "q=ng+1" in chromium.run("location.search")
    kept = {
        "?status=failed": ["training 2"],
        "?tag=set%200": ["training 2", "training 0"],
        "?order=name": ["training 0", "training 1", "training 2"],
        "?order=-p:Args/rate&columns=p:Args/rate": [f"training {i}" for i in (2, 1, 0)],
        "?where=p:Args/rate=0.2": ["training 1"],
    }
    for query, expected in kept.items():
        chromium.open(address + query)
        wait_until(chromium, listed, expected)
    chromium.open(f"{address}?order=-m:loss/v&columns=status,m:loss/v,p:Args/rate")
    text = chromium.wait_for("0.075")
    assert "loss/v" in text and "0.3" in text
    press(chromium, "loss/v")  # the other way round
    wait_until(chromium, listed, ["training 0", "training 1", "training 2"])
    assert chromium.complaints == []


def test_chosen_tasks_are_compared(embedded, chromium, trainings):
    chromium.open(f"{embedded.address}/projects/{trainings['project']}")
    chromium.wait_for("training 2")
    for i in (0, 1):
        chromium.run(f"document.querySelectorAll('td input')[{i}].click()")
        chromium.wait_for(f"{i + 1} chosen")
    press(chromium, "Compare")
    chromium.wait_for("Curves")
    chromium.wait_for("2 tasks")
    marked = chromium.run(
        "[...document.querySelectorAll('tr.differs td:first-child')]"
        ".map(cell => cell.textContent)"
    )
    assert "Args/rate" in marked and "Args/epochs" not in marked
    series = chromium.run(
        "[...document.querySelectorAll('figure')].map(one => "
        "one.querySelectorAll('.u-legend .u-series').length - 1)"
    )
    assert series == [2, 2]  # parameter against metric; the curve
    assert chromium.complaints == []


def test_links_of_the_sdk_lead_to_the_comparison(embedded, chromium, trainings):
    ids = ",".join(trainings["tasks"])
    path = f"/projects/{trainings['project']}/compare-tasks;ids={ids}/scalars/graph"
    text = chromium.open(embedded.address + path).wait_for("Curves")
    assert "3 tasks" in text and "loss · v" in text
    chromium.open(f"{embedded.address}{path}?differences=true").wait_for("Curves")
    names = "[...document.querySelectorAll('td:first-child')].map(td => td.innerText)"
    assert "Args/rate" in (shown := chromium.run(names)) and "Args/epochs" not in shown


def test_without_a_login_there_is_nothing_to_press(embedded, chromium, trainings):
    chromium.run("sessionStorage.clear()")
    chromium.open(f"{embedded.address}/projects/*/tasks/{trainings['tasks'][0]}")
    text = chromium.wait_for("Log in")
    assert "Clone" not in text and "Delete" not in text


def test_after_a_login_tasks_are_cloned_edited_enqueued_and_deleted(
    embedded, chromium, trainings
):
    keys = json.loads((embedded.home / "credentials.json").read_text())
    link = Gate(keys).token(60, LOGIN)
    chromium.open(f"{embedded.address}/login#link={link}").wait_for("Log out")
    assert chromium.run("document.cookie") == ""
    chromium.open(f"{embedded.address}/projects/*/tasks/{trainings['tasks'][0]}")
    chromium.wait_for("Clone")
    press(chromium, "Clone")
    chromium.wait_for("Cancel")
    chromium.run("document.querySelector('dialog [value=yes]').click()")
    chromium.wait_for("Save")
    task = chromium.run("location.pathname.split('/').at(-1)")
    assert task != trainings["tasks"][0]
    chromium.run(
        "const rate = document.querySelector('[aria-label=\"Args rate\"]');"
        "rate.value = '0.7'; rate.form.requestSubmit()"
    )
    wait_until(
        chromium,
        lambda _: embedded.data("tasks.get_by_id", {"task": task})["task"][
            "hyperparams"
        ]["Args"]["rate"]["value"],
        "0.7",
    )
    press(chromium, "Enqueue")
    chromium.wait_for("Cancel")
    chromium.run("document.querySelector('dialog [value=yes]').click()")
    chromium.wait_for("queued")
    press(chromium, "Abort")
    chromium.wait_for("stopped")
    press(chromium, "Delete")
    chromium.wait_for("cannot be undone")
    chromium.run("document.querySelector('dialog [value=yes]').click()")
    chromium.wait_for(f"There is no task {task}")
    press(chromium, "Log out")
    chromium.wait_for("Log in")
    assert chromium.complaints == []


def test_steps_are_drawn_as_a_graph_whose_boxes_lead_to_them(
    embedded, chromium, trainings
):
    steps = {
        "prepare": {"parents": [], "job_id": trainings["tasks"][0]},
        "train": {"parents": ["prepare"], "job_id": trainings["tasks"][1]},
        "deploy": {"parents": ["train", "prepare"], "job_id": None},
    }
    pipeline = {"name": "drawn", "type": "controller", "system_tags": ["pipeline"]} | {
        "configuration": {"Pipeline": {"name": "Pipeline", "value": json.dumps(steps)}},
    }
    task = embedded.data("tasks.create", pipeline)["id"]
    chromium.open(f"{embedded.address}/pipelines/*/experiments/{task}")
    chromium.wait_for("Steps")
    places = chromium.run(
        "Object.fromEntries([...document.querySelectorAll('.graph text:not(.sub)')]"
        ".map(one => [one.textContent, Number(one.getAttribute('x'))]))"
    )
    assert places["prepare"] < places["train"] < places["deploy"]
    assert chromium.run("document.querySelectorAll('.graph path').length") == 3
    links = chromium.run(
        "[...document.querySelectorAll('.graph a')].map(a => a.getAttribute('href'))"
    )
    assert [task in link for task, link in zip(trainings["tasks"], links)] == [True] * 2


def test_queues_and_agents_are_listed(embedded, chromium):
    queue = embedded.data("queues.get_default")["id"]
    embedded.data("workers.register", {"worker": "shown:1", "queues": [queue]})
    text = chromium.open(f"{embedded.address}/workers-and-queues").wait_for("shown:1")
    assert "services" in text and "default" in text
    embedded.data("workers.unregister", {"worker": "shown:1"})


def test_images_are_shown_by_iteration(embedded, chromium):
    task = embedded.data("tasks.create", {"name": "images", "type": "testing"})["id"]
    image = {"type": "training_debug_image", "task": task, "metric": "seen"}
    for i in (1, 5):
        place = {"variant": "a", "iter": i, "url": f"{embedded.address}/files/{i}.png"}
        embedded.data("events.add_batch", lines=[image | place])
    chromium.open(f"{embedded.address}/projects/*/tasks/{task}").wait_for("iteration 5")
    chromium.run(
        "document.querySelector('[aria-label=\"iteration of the images\"]').focus()"
    )
    chromium.key("ArrowLeft")
    chromium.wait_for("iteration 1")


@pytest.fixture(params=WIDTHS)
def wide(request, chromium):
    """The browser at each width; what it shows must not be wider."""
    size = {"width": request.param, "height": 900, "deviceScaleFactor": 1}
    chromium.send("Emulation.setDeviceMetricsOverride", mobile=False, **size)
    chromium.open("about:blank")  # what the page before still complains of is past
    yield chromium
    assert chromium.run("document.documentElement.scrollWidth") <= request.param
    assert chromium.complaints == []
    chromium.send("Emulation.clearDeviceMetricsOverride")


@pytest.fixture
def logged_in(embedded, wide):
    keys = json.loads((embedded.home / "credentials.json").read_text())
    link = Gate(keys).token(60, LOGIN)
    wide.open(f"{embedded.address}/login#link={link}").wait_for("Log out")
    yield wide
    wide.run("sessionStorage.clear()")


def test_versions_of_a_dataset_lead_to_each_other_by_keyboard(embedded, wide):
    ids, kept = [], {}
    for i, parents in enumerate(([], ["0"], ["1"])):
        body = {"name": f"hands {i}", "type": "data_processing"}
        body |= {"system_tags": ["dataset"], "runtime": {"version": f"1.0.{i}"}}
        ids.append(embedded.data("tasks.create", body)["id"])
        kept[str(i)] = {"job_id": ids[i], "parents": parents, "status": "completed"}
        kept[str(i)] |= {"name": f"hands {i}", "version": f"1.0.{i}"}
    struct = {"name": "Dataset Struct", "value": json.dumps(kept)}
    body = {"task": ids[2], "configuration": [struct]}
    embedded.data("tasks.edit_configuration", body)
    wide.open(f"{embedded.address}/projects/*/tasks/{ids[2]}").wait_for("Lineage")
    places = wide.run(
        "[...document.querySelectorAll('.graph text:not(.sub)')]"
        ".map(one => [one.textContent, Number(one.getAttribute('x'))])"
    )
    assert [name for name, _ in sorted(places, key=lambda one: one[1])] == [
        "hands 0",
        "hands 1",
        "hands 2",
    ]
    assert wide.run("document.querySelectorAll('.graph path').length") == 2
    wide.tab_to("hands 1: version 1.0.1, completed")
    seen = wide.run("""
        (box => box.left >= 0 && box.right <= innerWidth && box.top >= 0
          && box.bottom <= innerHeight
        )(document.activeElement.getBoundingClientRect())""")
    assert seen  # it was scrolled to
    wide.key("Enter")
    wait_until(wide, lambda tab: tab.run("document.title"), "hands 1")
    assert wide.run("location.pathname").endswith(ids[1])


def test_a_pipeline_is_run_anew_by_keyboard(embedded, logged_in):
    params = {"Args": {"rate": {"value": "0.1"}}}
    body = {"name": "a pipeline", "type": "controller", "system_tags": ["pipeline"]}
    run = embedded.data("tasks.create", body | {"hyperparams": params})["id"]
    page = f"{embedded.address}/projects/*/tasks/{run}"
    logged_in.open(page).wait_for("New run")
    logged_in.tab_to("New run")
    logged_in.key("Enter")
    logged_in.wait_for("New run of a pipeline")
    assert logged_in.focused() == "rate"
    logged_in.run("document.activeElement.select()")
    logged_in.send("Input.insertText", text="0.7")
    logged_in.key("Enter")
    logged_in.wait_for("queued")
    new = logged_in.run("location.pathname.split('/').at(-1)")
    found = embedded.data("tasks.get_by_id", {"task": new})["task"]
    assert new != run and found["status"] == "queued"
    assert found["hyperparams"]["Args"]["rate"]["value"] == "0.7"
    embedded.data("tasks.delete", {"task": new, "force": True})


def test_a_task_is_reset_by_keyboard_and_not_by_enter_alone(embedded, logged_in):
    body = {"name": "to be reset", "type": "training"}
    task = embedded.data("tasks.create", body)["id"]
    embedded.data("tasks.started", {"task": task})
    embedded.data("tasks.failed", {"task": task})

    def status(_=None):
        return embedded.data("tasks.get_by_id", {"task": task})["task"]["status"]

    logged_in.open(f"{embedded.address}/projects/*/tasks/{task}").wait_for("failed")
    for key_before in (None, "Tab"):
        logged_in.tab_to("Reset")
        logged_in.key("Enter")
        logged_in.wait_for("Reset to be reset?")
        assert logged_in.focused() == "Cancel"
        if key_before:
            logged_in.key(key_before, shift=True)
            assert logged_in.focused() == "Reset"
        assert status() == "failed"
        logged_in.key("Enter")
        wait_until(
            logged_in, lambda tab: tab.run("document.querySelector('dialog')"), None
        )
    wait_until(logged_in, status, "created")
    logged_in.wait_for("created")


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_and_nothing_makes_the_page_wider(
    embedded, chromium, trainings, width
):
    chromium.send(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    ids = ",".join(trainings["tasks"])
    for path, text in (
        ("/", "Recent tasks"),
        (f"/projects/*/tasks/{trainings['tasks'][0]}", "Scalars"),
        (f"/projects/*/compare-tasks;ids={ids}", "Curves"),
        ("/datasets", "Datasets"),
        ("/models", "Models"),
        ("/workers-and-queues", "Agents"),
    ):
        chromium.open(embedded.address + path).wait_for(text)
        wide = chromium.run("document.documentElement.scrollWidth")
        assert wide <= width, path
        cut = chromium.run(
            "[...document.querySelectorAll('td, th')].filter(cell => cell.scrollWidth >"
            " cell.clientWidth + 1).map(cell => cell.textContent)"
        )
        assert cut == [], path
    chromium.send("Emulation.clearDeviceMetricsOverride")
