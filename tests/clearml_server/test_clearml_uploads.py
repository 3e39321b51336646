"""Uploads of our steps: there when they return, or an error."""

from refusing_store import refusing_store


def test_what_cannot_be_uploaded_is_named_and_what_can_is_there_at_once(embedded):
    with refusing_store() as store:
        shown = embedded.run(
            """
            from clearml import Model, StorageManager, Task
            from data_prep.errors import InputError
            from pipelines import tracking
            from pipelines.tracking import dataset_versions, datasets
            task = Task.init("Uploads", "a task of mine")
            file = Path("model.onnx")
            file.write_bytes(b"a graph")
            Path("photographs").mkdir()
            for name in "ab":
                (Path("photographs") / name).write_text(name)
            labels = {"A": 0, "B": 1}
            def failure(act, *arguments):
                try:
                    return act(*arguments)
                except InputError as error:
                    return str(error)
            made = []
            def register(store, gone=None):
                with dataset_versions.new_version("set", store) as dataset:
                    made.append(dataset.id)
                    dataset.add_files("photographs")
                    if gone:
                        Path("photographs", gone).unlink()
            artifact = (tracking.upload_artifact, task)
            model = (tracking.upload_model, task, file, "net", labels, "0.9 right")
            task.output_uri = sys.argv[1]
            failed = [failure(*artifact, "figures", {"x": 1}), failure(*model),
                      failure(register, sys.argv[1]), failure(register, None, "a")]
            task.output_uri = None
            tracking.upload_artifact(task, "numbers", {"x": 1})
            id_ = tracking.upload_model(task, file, "net", labels, "0.9 right")
            found = Model(id_)
            copy = StorageManager.get_local_copy(found.url, force_download=True)
            statuses = [Task.get_task(made_id).get_status() for made_id in made]
            show([failed, statuses, datasets.newest("set"),
                  Task.get_task(task.id).artifacts["numbers"].get(),
                  Path(copy).read_text(), found.labels])
            """,
            store,
        )
    failed, statuses, newest, numbers, weights, labels = shown
    for line, named in zip(
        failed, ("figures", "model.onnx", "Dataset set", "Dataset set"), strict=True
    ):
        assert line.startswith(f"{named} cannot be uploaded (")
        assert "run the command again" in line and "\n" not in line
    assert all("507" in line for line in failed[:2])
    assert "1 file is gone, such as a" in failed[3]
    assert statuses == ["failed", "failed"] and newest is None
    assert (numbers, weights, labels) == ({"x": 1}, "a graph", {"A": 0, "B": 1})
