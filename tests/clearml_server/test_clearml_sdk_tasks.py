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
