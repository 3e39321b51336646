"""The page of the embedded server, seen in a real browser, and who may see it."""

import json
import os
import re
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import browser
import pytest

from pipelines.clearml_server import view
from pipelines.clearml_server.auth import VIEW, Gate, new_credentials

pytestmark = pytest.mark.slow

NASTY = "train <img src=x onerror=document.title='ran'>"
# Of the names that the browser is told to resolve to this machine.
FOREIGN = "rebound.example"
PROGRAM = """
    import sys
    import numpy as np
    from clearml import Dataset, OutputModel, Task

    task = Task.init("Page", sys.argv[1], task_type="training",
                     reuse_last_task_id=False, auto_connect_frameworks=False,
                     auto_resource_monitoring=False, tags=["good"])
    task.output_uri = True
    task.connect({"rate": 0.125, "shown": "<script>document.title='ran'</script>"})
    task.connect_configuration({"deep": [1, 2]}, name="general")
    log = task.get_logger()
    for i in range(20):
        log.report_scalar("loss", "train", 1 / (i + 1), i)
        log.report_scalar("loss", "val", 1.5 / (i + 1), i)
    log.report_single_value("test accuracy", 0.98765)
    log.report_confusion_matrix(
        "confusion", "test", np.array([[41, 2], [3, 57]]), iteration=0,
        xlabels=["Left", "Right"], ylabels=["Left", "Right"], xaxis="predicted",
        yaxis="true", yaxis_reversed=True)
    log.report_table("scores", "by class", iteration=0,
                     table_plot=[["class", "f1"], ["<b>Left", 0.75], ["Right", 1]])
    log.report_histogram("sizes", "images", iteration=0, values=[3, 5, 4],
                         xlabels=["few", "some", "many"])
    log.report_surface("surface", "solid", iteration=0, matrix=np.eye(3))
    log.report_image("samples", "first", 0, image=np.zeros((8, 12, 3), "uint8"))
    log.report_text("\\x1b[31ma red line\\x1b[0m")
    Path("report.html").write_text("<p>plain</p><script>document.title='ran'</script>")
    task.upload_artifact("numbers", {"x": 1})
    task.upload_artifact("report", "report.html")
    Path("letters.onnx").write_bytes(b"weights")
    model = OutputModel(task, name="letters", framework="ONNX",
                        label_enumeration={"Left": 0, "Right": 1})
    model.update_weights("letters.onnx", auto_delete_file=False)
    model.publish()
    task.close()

    Path("a.txt").write_text("hello")
    data = Dataset.create("hands", "Page", dataset_version="2.5.0")
    data.add_files("a.txt"); data.upload(show_progress=False); data.finalize()
    show({"task": task.id, "model": model.id, "dataset": data.id,
          "project": task.project})
    """


@pytest.fixture(scope="module")
def reported(embedded):
    """What a program of the real SDK made, with all that it printed."""
    shown, done = embedded.run(PROGRAM, NASTY, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return shown | {"printed": done.stdout}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if browser.find() is None:
        pytest.skip("no chromium on this machine (scripts/setup browser installs it)")
    rules = f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1"
    tab = browser.Browser(tmp_path_factory.mktemp("chromium"), rules)
    yield tab
    tab.close()


@pytest.fixture
def task_page(embedded, chromium, reported):
    chromium.open(f"{embedded.address}/projects/*/tasks/{reported['task']}")
    chromium.wait_for("a red line")
    return chromium


def test_the_printed_results_link_opens_the_very_task(chromium, reported):
    link = re.search(r"results page: (http\S+)", reported["printed"])[1]
    assert urlsplit(link).path.count("/") > 4
    text = chromium.open(link).wait_for("a red line")
    assert chromium.run("document.querySelector('h1').textContent") == NASTY
    for seen in ("completed", "good", "training", "Page", reported["task"]):
        assert seen in text
    for seen in ("test accuracy", "0.9877", "rate", "0.125", "general", "letters"):
        assert seen in text
    assert chromium.complaints == []


def test_names_and_values_are_shown_and_never_run(task_page):
    assert task_page.run("document.title") == NASTY
    assert (
        task_page.run("document.querySelectorAll('[src=x], main script').length") == 0
    )
    text = task_page.text()
    assert "<script>document.title='ran'</script>" in text and "<b>Left" in text


def test_scalars_and_plots_are_drawn(task_page):
    task_page.run("document.querySelector('.u-over').scrollIntoView()")
    figures = task_page.run("""
        Object.fromEntries([...document.querySelectorAll("figure")].map(figure => {
            const canvas = figure.querySelector("canvas");
            const pixels = canvas?.getContext("2d")
                .getImageData(0, 0, canvas.width, canvas.height).data ?? [];
            const blue = [0x3b, 0x7d, 0xd8];  // of the first series
            let drawn = 0;
            for (let i = 0; i < pixels.length; i += 4)
                drawn += blue.every((part, k) => pixels[i + k] === part);
            return [figure.querySelector("h3").textContent, {
                drawn, series: figure.querySelectorAll(".u-series").length - 1,
                cells: figure.querySelectorAll("svg rect").length,
                text: figure.innerText, marks: figure.textContent}];
        }))
        """)
    assert figures["loss"]["series"] == 2 and "val" in figures["loss"]["text"]
    assert figures["loss"]["drawn"] > 50
    matrix = figures["confusion · test"]
    assert matrix["cells"] == 4 and "true Left, predicted Right: 2" in matrix["marks"]
    assert {"41", "2", "3", "57", "Left"} <= set(matrix["text"].split())
    assert "0.75" in figures["scores · by class"]["text"]
    assert figures["sizes · images"]["drawn"] > 500  # bars
    assert "not drawn" in figures["surface · solid"]["text"]
    assert "JSON" in figures["surface · solid"]["text"]


def read_off(tab):
    """What the legend of the first chart says: x, then a value for each series."""
    legend = "document.querySelector('figure .u-legend')"
    return tab.run(
        f"[...{legend}.querySelectorAll('.u-value')].map(one => one.innerText)"
    )


def test_mouse_and_keys_over_a_curve_read_its_values(task_page):
    task_page.hover("figure .u-over", across=0.999)
    assert read_off(task_page) == ["19", "0.05", "0.075"]
    task_page.run("document.querySelector('figure .plot').focus()")
    for _ in range(2):
        task_page.key("ArrowLeft")
    assert read_off(task_page) == ["17", "0.05556", "0.08333"]


def test_curves_can_be_smoothed_and_the_address_keeps_it(task_page):
    address = task_page.run("location.href")
    task_page.open(f"{address}?smooth=0.9&axis=time&log=true")
    task_page.wait_for("a red line")
    task_page.hover("figure .u-over", across=0.999)
    time, train, val = read_off(task_page)
    assert time.count(":") == 2  # not an iteration
    assert float(train) > 0.1 and float(val) > 0.15
    controls = "[...document.querySelectorAll('.bar input, .bar select')]"
    values = task_page.run(f"{controls}.map(one => one.value)")
    assert "0.9" in values and "time" in values


def test_images_and_artifacts_are_fetched_without_the_key(task_page):
    image = "document.querySelector('figure img')"
    task_page.run(f"{image}.scrollIntoView(); {image}.decode()")
    assert task_page.run(f"{image}.naturalWidth") == 12
    found = task_page.run("""
        fetch([...document.querySelectorAll("td a")].find(
            a => a.textContent === "numbers").href).then(answer => answer.json())
        """)
    assert found == {"x": 1}


def test_an_uploaded_page_runs_no_script(task_page):
    link = "[...document.querySelectorAll('td a')].find(a => a.innerText == 'report')"
    task_page.open(task_page.run(f"{link}.href")).wait_for("plain")
    assert task_page.run("document.title") != "ran"


def test_the_overview_lists_projects_and_tasks(embedded, chromium, reported):
    text = chromium.open(f"{embedded.address}/").wait_for("Recent tasks")
    assert NASTY in text and "test accuracy 0.9877" in text and "Projects" in text
    chromium.open(f"{embedded.address}/projects/{reported['project']}")
    text = chromium.wait_for("letters")
    assert NASTY in text and chromium.run("document.title") == "Page"
    assert chromium.complaints == []


def test_datasets_and_models_have_their_pages(embedded, chromium, reported):
    text = chromium.open(f"{embedded.address}/datasets").wait_for("2.5.0")
    assert "hands" in text and "5 B" in text
    address = f"{embedded.address}/datasets/simple/*/experiments/{reported['dataset']}"
    text = chromium.open(address).wait_for("Files")
    assert "2.5.0" in text and "hands" in text
    text = chromium.open(f"{embedded.address}/models").wait_for("letters")
    assert "ONNX" in text and "published" in text and NASTY in text
    chromium.open(f"{embedded.address}/models/{reported['model']}")
    assert "Right" in chromium.wait_for("Labels")
    assert chromium.complaints == []


def test_a_running_task_is_followed(embedded, chromium):
    task = embedded.data("tasks.create", {"name": "long run", "type": "training"})["id"]
    embedded.data("tasks.started", {"task": task})
    chromium.open(f"{embedded.address}/projects/*/experiments/{task}/output/log")
    assert "score" not in chromium.wait_for("in progress")
    event = {"type": "training_stats_scalar", "task": task, "metric": "Summary"}
    point = event | {"variant": "score", "iter": -(2**31), "value": 0.25}
    embedded.data("events.add_batch", lines=[point])
    assert "0.25" in chromium.wait_for("score")
    embedded.data("tasks.completed", {"task": task})
    chromium.wait_for("completed")


def test_a_pipeline_leads_to_its_steps(embedded, chromium, reported):
    steps = {
        "learn": {"parents": [], "job_id": reported["task"], "status": "completed"},
        "serve": {"parents": ["learn"], "job_id": None, "executed": None},
    }
    pipeline = {"name": "letters, whole", "type": "controller"} | {
        "system_tags": ["pipeline"],
        "configuration": {"Pipeline": {"name": "Pipeline", "value": json.dumps(steps)}},
    }
    task = embedded.data("tasks.create", pipeline)["id"]
    chromium.open(f"{embedded.address}/pipelines/*/experiments/{task}")
    assert "pending" in chromium.wait_for("serve")
    link = "[...document.querySelectorAll('td a')].find(a => a.innerText == 'learn')"
    assert reported["task"] in chromium.run(f"{link}.href")


def test_a_task_that_does_not_exist_is_said_so(embedded, chromium):
    chromium.open(f"{embedded.address}/projects/*/tasks/{'0' * 32}/output/log")
    chromium.wait_for(f"There is no task {'0' * 32}")


def test_a_name_that_was_turned_to_this_machine_sees_nothing(
    embedded, chromium, reported
):
    port = urlsplit(embedded.address).port
    chromium.open(f"http://{FOREIGN}:{port}/")
    assert "hands" not in chromium.wait_for("ssh -L")


def test_the_view_is_for_local_requests_of_the_page_alone(embedded):
    def get(path, **headers):
        return embedded.http("GET", f"/view/{path}", headers=headers)[0]

    assert get("tasks.get_all") == 200
    assert get("tasks.get_all", Host="localhost:1") == 200
    for host in (FOREIGN, f"{FOREIGN}:80", "127.0.0.1.example", "10.0.0.1", "", "[["):
        assert get("tasks.get_all", Host=host) == 403, host
        assert get("files/a.txt", Host=host) == 403, host
    assert get("tasks.get_all", **{"Sec-Fetch-Site": "same-origin"}) == 200
    for site in ("cross-site", "same-site"):
        assert get("tasks.get_all", **{"Sec-Fetch-Site": site}) == 403


def test_the_view_reads_and_does_nothing_else(embedded):
    task = embedded.data("tasks.create", {"name": "kept", "type": "testing"})["id"]
    body = json.dumps({"task": task, "force": True}).encode()
    kind = {"Content-Type": "application/json"}
    for method in ("POST", "PUT", "DELETE"):
        assert embedded.http(method, "/view/tasks.delete", body, kind)[0] == 405
        assert embedded.http(method, "/view/files/a.txt", body, kind)[0] == 405
    request = f"?request=%7B%22task%22:%22{task}%22%7D&task={task}"
    for name in ("tasks.delete", "tasks.edit", "auth.login", "embedded.lease"):
        assert embedded.http("GET", f"/view/{name}{request}")[0] == 404
    assert embedded.data("tasks.get_by_id", {"task": task})["task"]["name"] == "kept"
    assert embedded.http("GET", "/view/tasks.get_all?request=[")[0] == 400
    for name in ("..%2fcredentials.json", "%2e%2e/credentials.json", ".partial/x"):
        assert embedded.http("GET", f"/view/files/{name}")[0] == 400


def test_no_key_is_in_the_page_or_in_the_view(embedded):
    key, secret = embedded.keys().split(":")
    signing = json.loads((embedded.home / "credentials.json").read_text())
    for path in ("/", "/view/tasks.get_all", "/view/projects.get_all"):
        text = embedded.http("GET", path)[1].decode()
        for word in (key, secret, signing["signing_key"]):
            assert word not in text


def test_credentials_open_the_view_from_anywhere():
    gate = Gate(new_credentials())
    far, server = ("192.0.2.7", 40000), ("192.0.2.1", 8080)
    with pytest.raises(view.NotShown, match="ssh -L 8080"):
        view.check(gate, {"Host": "127.0.0.1:8080"}, far, server)
    cookie = gate.token(60, VIEW)
    headers = {"Host": "machine:8080", "Cookie": f"clearml_embedded={cookie}"}
    view.check(gate, headers, far, server)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_another_user_of_the_machine_sees_nothing(embedded):
    address = f"{embedded.address}/view/projects.get_all"
    assert urllib.request.urlopen(address).status == 200
    os.seteuid(65534)
    try:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address)
    finally:
        os.seteuid(0)
    assert refused.value.code == 403
