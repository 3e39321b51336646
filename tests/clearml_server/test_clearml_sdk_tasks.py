"""Tasks of the real SDK on the embedded server: what is reported comes back."""

import hashlib

import pytest

pytestmark = pytest.mark.slow


def test_a_training_task_reads_back_all_it_reported(embedded):
    shown = embedded.run("""
        import argparse
        import numpy as np
        from clearml import Task, OutputModel
        from torch.utils.tensorboard import SummaryWriter

        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float, default=0.1)
        parser.add_argument("--epochs", type=int, default=3)
        parser.add_argument("--name", default="x")
        task = Task.init("Tasks", "train", reuse_last_task_id=False,
                         auto_connect_frameworks={"pytorch": False})
        task.output_uri = True
        options = parser.parse_args(["--lr", "0.5"])
        config = task.connect({"size": 64, "deep": {"er": None}, "on": True}, "cfg")
        task.connect_configuration({"a": [1, 2]}, name="general")
        log = task.get_logger()
        for i in range(10):
            log.report_scalar("loss", "train", 1 / (i + 1), i)
        log.report_single_value("accuracy", 0.9)
        log.report_confusion_matrix("confusion", "test", np.eye(3), iteration=0)
        log.report_image("samples", "first", 0, image=np.zeros((8, 8, 3), "uint8"))
        log.report_text("a line of text")
        with SummaryWriter("tb") as writer:
            writer.add_scalar("board/acc", 0.25, 7)
        task.upload_artifact("numbers", {"x": 1})
        task.upload_artifact("array", np.arange(4))
        Path("classes.txt").write_text("A\\nB\\n")
        task.upload_artifact("classes.txt", "classes.txt")
        Path("model.onnx").write_bytes(b"weights" * 1000)
        model = OutputModel(task, name="letters", framework="ONNX",
                            label_enumeration={"A": 0, "B": 1})
        model.update_weights("model.onnx", auto_delete_file=False)
        model.set_metadata("size", "64", "int")
        task.add_tags(["good"])
        task.close()

        found = Task.get_task(project_name="Tasks", task_name="train")
        model = found.models["output"]["model"]
        page = found.get_output_log_web_page()
        show({
            "same": found.id == task.id,
            "status": found.status,
            "parameters": found.get_parameters(cast=True),
            "raw": found.get_parameters(),
            "configuration": found.get_configuration_object_as_dict("general"),
            "scalars": found.get_reported_scalars(),
            "all": found.get_all_reported_scalars()["loss"]["train"]["y"],
            "last": found.get_last_scalar_metrics()["loss"]["train"],
            "single": found.get_reported_single_values(),
            "plots": [(p["metric"], p["variant"]) for p in found.get_reported_plots()],
            "images": len(found.get_debug_samples("samples", "first")),
            "console": "".join(found.get_reported_console_output(100)),
            "numbers": found.artifacts["numbers"].get(),
            "array": found.artifacts["array"].get().tolist(),
            "classes": Path(found.artifacts["classes.txt"].get_local_copy(
                force_download=True)).read_text(),
            "weights": len(Path(model.get_weights(force_download=True)).read_bytes()),
            "url": model.url, "labels": model.labels, "name": model.name,
            "framework": model.framework, "metadata": model.get_metadata("size"),
            "tags": found.get_tags(), "page": page, "iteration":
            found.get_last_iteration(),
        })
        """)
    assert shown["same"] and shown["status"] == "completed"
    assert shown["parameters"]["Args/lr"] == 0.5
    assert shown["parameters"]["Args/epochs"] == 3
    assert shown["raw"]["cfg/size"] == "64" and shown["parameters"]["cfg/on"] is True
    assert shown["configuration"] == {"a": [1, 2]}
    assert shown["scalars"]["loss"]["train"]["x"] == list(range(10))
    assert shown["all"] == [1 / (i + 1) for i in range(10)]
    assert shown["last"] == {"last": 0.1, "min": 0.1, "max": 1.0}
    assert shown["scalars"]["board"]["acc"] == {"name": "acc", "x": [7], "y": [0.25]}
    assert shown["single"] == {"accuracy": 0.9}
    assert shown["plots"] == [["confusion", "test"]]
    assert shown["images"] == 1 and shown["iteration"] == 9
    assert "a line of text" in shown["console"]
    assert shown["numbers"] == {"x": 1} and shown["array"] == [0, 1, 2, 3]
    assert shown["classes"] == "A\nB\n" and shown["weights"] == 7000
    assert shown["url"].startswith(f"{embedded.address}/files/Tasks/train.")
    assert shown["labels"] == {"A": 0, "B": 1} and shown["framework"] == "ONNX"
    assert shown["metadata"] == "64" and shown["tags"] == ["good"]
    code, page = embedded.http("GET", shown["page"].removeprefix(embedded.address))
    assert code == 200 and b"<!doctype html>" in page.lower()


def test_a_task_is_reused_until_it_has_something_to_lose(embedded):
    program = """
        from clearml import Task
        task = Task.init("Reuse", "try", auto_resource_monitoring=False)
        task.get_logger().report_scalar("m", "v", 1, len(sys.argv))
        if "keep" in sys.argv:
            task.upload_artifact("x", {"x": 1}, wait_on_upload=True)
        task.close()
        scalars = Task.get_task(task.id).get_reported_scalars()
        show([task.id, scalars["m"]["v"]["x"]])
        """
    first, second = embedded.run(program), embedded.run(program, "keep")
    third = embedded.run(program)
    assert first[0] == second[0] != third[0]
    assert second[1] == [2]  # the scalars of the first run went with its reset


def test_the_best_task_by_metric_is_a_query(embedded):
    title, series = (hashlib.md5(n.encode()).hexdigest() for n in ("test", "accuracy"))
    shown = embedded.run(f"""
        from clearml import Task
        ids = []
        for value in (0.25, 1.5, 0.75):
            task = Task.create("Best", f"run {{value}}")
            task.mark_started()
            task.get_logger().report_scalar("test", "accuracy", value, 1)
            task.flush(wait_for_uploads=True)
            task.mark_completed()
            ids.append(task.id)
        ordered = Task.get_tasks(project_name="Best", task_filter={{
            "status": ["completed", "published"],
            "order_by": ["-last_metrics.{title}.{series}.max_value"]}})
        pages = [Task.query_tasks(project_name="Best", task_filter={{
            "page": page, "page_size": 2, "order_by": ["name"]}}) for page in (0, 1)]
        named = Task.query_tasks(project_name="Best", task_name="run 1.5",
                                 additional_return_fields=["status", "runtime.version"])
        show({{"ids": ids, "ordered": [t.id for t in ordered], "pages": pages,
              "named": named}})
        """)
    low, high, middle = shown["ids"]
    assert shown["ordered"] == [high, middle, low]
    assert shown["pages"] == [[low, middle], [high]]
    assert shown["named"][0]["id"] == high
    assert shown["named"][0]["status"] == "completed"


def test_parameters_come_back_with_their_types(embedded):
    values = {"i": 1, "f": 1.5, "s": "s", "n": None, "b": True, "l": [1, 2]}
    shown = embedded.run(f"""
        from clearml import Task
        task = Task.create("Parameters", "typed")
        task.set_parameters({{f"Args/{{k}}": v for k, v in {values!r}.items()}})
        task.set_parameter("Args/new", 5)
        task.delete_parameter("Args/s")
        task.set_user_properties(note="kept", accuracy=0.5)
        task.set_configuration_object("net", config_dict={{"depth": [1, 2]}})
        task.set_comment("a comment"); task.add_tags(["x", "y"])
        task.set_name("renamed"); task.move_to_project(new_project_name="Parameters/In")
        found = Task.get_task(project_name="Parameters/In", task_name="renamed")
        Task.import_task({{**found.export_task(), "name": "imported"}})
        again = Task.get_task(project_name="Parameters/In", task_name="imported")
        show({{"typed": found.get_parameters(cast=True), "properties":
              found.get_user_properties(value_only=True), "net":
              found.get_configuration_object_as_dict("net"), "comment": found.comment,
              "tags": found.get_tags(), "again": again.get_parameters(cast=True),
              "projects": [p.name for p in Task.get_projects()]}})
        """)
    del values["s"]
    typed = shown["typed"]
    assert {k: typed[f"Args/{k}"] for k in values} == values
    assert typed["Args/new"] == 5 and "Args/s" not in typed
    assert shown["properties"] == {"note": "kept", "accuracy": "0.5"}
    assert shown["net"] == {"depth": [1, 2]} and shown["comment"] == "a comment"
    assert shown["tags"] == ["x", "y"]
    assert {f"Args/{k}" for k in values} <= set(shown["again"])
    assert {"Parameters", "Parameters/In"} <= set(shown["projects"])


def test_artifacts_and_plots_of_every_kind_come_back(embedded):
    shown = embedded.run("""
        import matplotlib
        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
        import numpy as np
        from PIL import Image
        from clearml import Task
        task = Task.create("Kinds", "all of them"); task.mark_started()
        log = task.get_logger()
        log.report_table("table", "s", 0, table_plot=[["a"], [1], [2]])
        log.report_histogram("histogram", "s", values=np.arange(5), iteration=0)
        log.report_scatter2d("scatter", "s", scatter=np.ones((3, 2)), iteration=0)
        log.report_surface("surface", "s", matrix=np.eye(3), iteration=0)
        figure = plt.figure(); plt.plot([1, 2])
        log.report_matplotlib_figure("figure", "s", figure, 0)
        for i in range(3):
            log.report_histogram("many", "s", values=[i], iteration=i)
            log.report_image("image", "s", i, image=np.zeros((4, 4, 3), "uint8"))
        folder = Path("folder"); folder.mkdir(exist_ok=True)
        (folder / "x.txt").write_text("x")
        objects = {"array": np.eye(2), "dict": {"a": [1]}, "text": "hello",
                   "folder": folder, "object": {1, 2},
                   "picture": Image.new("RGB", (4, 4))}
        for name, value in objects.items():
            task.upload_artifact(name, value, wait_on_upload=True)
        task.delete_artifacts(["text"])
        task.flush(wait_for_uploads=True)
        found = Task.get_task(task.id)
        show({"plots": sorted({p["metric"] for p in found.get_reported_plots()}),
              "many": [p["iter"] for p in found.get_reported_plots(2)
                       if p["metric"] == "many"],
              "images": [s["iter"] for s in found.get_debug_samples("image", "s")],
              "last images": [s["iter"] for s in
                              found.get_debug_samples("image", "s", 2)],
              "artifacts": {name: type(artifact.get()).__name__
                            for name, artifact in found.artifacts.items()}})
        """)
    expected = ["figure", "histogram", "many", "scatter", "surface", "table"]
    assert shown["plots"] == expected and shown["many"] == [1, 2]
    assert shown["images"] == [2, 1, 0] and shown["last images"] == [2, 1]
    assert shown["artifacts"] == {
        "array": "ndarray",
        "dict": "dict",
        "folder": "PosixPath",
        "object": "set",
        "picture": "PngImageFile",
    }


def test_a_task_goes_through_its_life(embedded):
    shown = embedded.run("""
        from clearml import Task
        seen = {}
        task = Task.create("Life", "one")
        Task.enqueue(task, queue_name="default")
        seen["queued"] = task.get_status()
        Task.dequeue(task); seen["dequeued"] = task.get_status()
        task.mark_started(); seen["started"] = task.get_status()
        task.mark_failed(status_reason="why", status_message="what")
        seen["failed"] = [task.get_status(), Task.get_task(task.id).data.status_reason]
        task.reset(); seen["reset"] = task.get_status()
        clone = Task.clone(task, name="clone", parent=task.id)
        seen["clone"] = [clone.get_status(), clone.parent == task.id]
        task.mark_started(); task.mark_completed(); task.publish()
        seen["published"] = task.get_status()
        seen["refused"] = bool(Task.get_task(task.id).delete())
        task.set_archived(True)
        seen["archived"] = [task.get_archived(), len(Task.query_tasks("Life")),
                            len(Task.query_tasks("Life", task_filter={
                                "system_tags": ["-archived"]}))]
        other = Task.create("Life", "other"); other.mark_started()
        other.upload_artifact("numbers", {"x": 1}, wait_on_upload=True)
        other.get_logger().report_image("i", "s", 0, image=__import__("numpy").zeros(
            (4, 4, 3), "uint8"))
        other.flush(wait_for_uploads=True)
        files = Path(os.environ["ASL_HOME"]) / "clearml/files/Life"
        seen["files"] = [len([p for p in files.rglob("*") if p.is_file()])]
        Task.get_task(other.id).delete(raise_on_error=True)
        seen["files"].append(files.exists())
        seen["left"] = sorted(Task.get_task(i).name for i in Task.query_tasks("Life"))
        show(seen)
        """)
    assert shown == {
        "queued": "queued",
        "dequeued": "created",
        "started": "in_progress",
        "failed": ["failed", "why"],
        "reset": "created",
        "clone": ["created", True],
        "published": "published",
        "refused": False,
        "archived": [True, 2, 1],
        "files": [2, False],
        "left": ["clone", "one"],
    }


def test_a_running_task_notices_that_it_was_stopped(embedded):
    _, done = embedded.run(
        """
        import time
        from clearml import Task
        task = Task.init("Stop", "long", auto_resource_monitoring=False)
        other = Task.get_task(task.id)
        other.mark_stop_request()
        time.sleep(60)
        show("went on")
        """,
        check=False,
    )
    assert not (embedded.folder / "shown.json").exists()
    assert done.returncode != 0 and "USER ABORTED" in done.stdout
    tasks = embedded.data("tasks.get_all", {"name": "^long$"})["tasks"]
    assert [task["status"] for task in tasks] == ["stopped"]


def test_models_are_found_published_and_removed(embedded):
    shown = embedded.run("""
        from clearml import InputModel, Model, OutputModel, Task
        task = Task.create("Models", "maker"); task.mark_started()
        task.output_uri = True
        made = []
        for i in (1, 2):
            path = Path(f"w{i}.onnx"); path.write_bytes(b"x" * i)
            model = OutputModel(task, name=f"net {i}", tags=[f"t{i}"], framework="ONNX")
            model.update_weights(str(path), auto_delete_file=False, iteration=i)
            made.append(model)
        made[0].update_design(config_dict={"depth": 3})
        made[0].update_labels({"A": 0})
        made[0].set_metadata("size", "64", "int")
        def named(**query):
            return [m.name for m in Model.query_models(project_name="Models", **query)]
        seen = {"all": named(), "tag": named(tags=["t1"]), "meta":
                named(metadata={"size": "64"}), "name": named(model_name="net 2")}
        imported = InputModel.import_model("file:///tmp/none.onnx", name="imported")
        user = Task.create("Models", "user"); user.set_input_model(imported.id)
        seen["input"] = list(Task.get_task(user.id).models["input"].keys())
        model = Model(made[0].id)
        seen["model"] = [model.config_dict["depth"], model.labels,
                         model.task == task.id, model.published]
        task.mark_completed(); made[0].publish()
        seen["published"] = [Model(made[0].id).published, named(only_published=True)]
        seen["removed"] = [Model.remove(made[1].id), named()]
        seen["outputs"] = [m.name for m in Task.get_task(task.id).models["output"]]
        show(seen)
        """)
    assert shown == {
        "all": ["net 2", "net 1"],
        "tag": ["net 1"],
        "meta": ["net 1"],
        "name": ["net 2"],
        "input": shown["input"],
        "model": [3, {"A": 0}, True, False],
        "published": [True, ["net 1"]],
        "removed": [True, ["net 1"]],
        "outputs": ["net 1"],
    }
    assert len(shown["input"]) == 1


def test_files_of_a_task_with_quotes_in_its_names_are_found_again(embedded):
    shown = embedded.run("""
        import numpy as np
        from clearml import StorageManager, Task

        task = Task.init("Quotes", 'the "best" %22 one', reuse_last_task_id=False,
                         auto_resource_monitoring=False)
        task.output_uri = True
        task.upload_artifact('a"b', {"x": 1})
        black = np.zeros((8, 8, 3), "uint8")
        task.get_logger().report_image('t"t', 's', 0, image=black)
        task.flush(wait_for_uploads=True)
        (sample,) = task.get_debug_samples('t"t', 's')
        show({
            "artifact": Task.get_task(task.id).artifacts['a"b'].get(),
            "image": Path(StorageManager.get_local_copy(sample["url"])).stat().st_size,
        })
        task.close()
    """)
    assert shown["artifact"] == {"x": 1}
    assert shown["image"] > 0


def test_a_pool_that_is_forked_while_a_task_reports_ends(embedded):
    shown = embedded.run(
        """
        import multiprocessing
        from clearml import Task

        def work(x):
            log = Task.current_task().get_logger()
            for i in range(20):
                log.report_scalar("squares", str(x), x * x, i)
            return x * x

        task = Task.init("Tasks", "forks", reuse_last_task_id=False)
        task.get_logger().report_scalar("before", "all", 1, 1)
        task.upload_artifact("before", {"a": 1}, wait_on_upload=True)
        with multiprocessing.get_context("fork").Pool(4) as pool:
            squares = pool.map(work, range(8))
            pool.close()
            pool.join()
        task.close()
        show([task.id, squares])
        """,
        "as a stranger",
    )
    task, squares = shown
    assert squares == [x * x for x in range(8)]
    body = {"task": task}
    curves = embedded.data("events.scalar_metrics_iter_histogram", body)["squares"]
    assert {name: curve["y"][-1] for name, curve in curves.items()} == {
        str(x): x * x for x in range(8)
    }


def test_only_the_output_model_of_a_step_that_clearml_task_made_is_registered(embedded):
    shown = embedded.run("""
        import argparse
        import torch
        from clearml import OutputModel, Task
        Task.init("ASL", "train", "data_processing")  # as clearml-task does, first
        from pipelines.tracking.task import step_task

        sys.argv = ["train.py"]
        with step_task("train", argparse.ArgumentParser()) as (task, args):
            for name in ("last.partial", "checkpoint.partial", "checkpoint.pt"):
                torch.save({"weight": torch.zeros(2)}, name)
            torch.load("checkpoint.pt")
            Path("model.onnx").write_bytes(b"weights")
            model = OutputModel(task, name="model", framework="ONNX")
            model.update_weights("model.onnx", auto_delete_file=False)
        show([task.id, model.id])
        """)
    task, model = shown
    found = embedded.data("models.get_all", {"task": [task]})["models"]
    assert [one["id"] for one in found] == [model]
    models = embedded.data("tasks.get_by_id", {"task": task})["task"]["models"]
    assert [one["model"] for one in models["output"]] == [model]
    assert models["input"] == []
