"""Uploads of our steps: there when they return, or an error."""

from refusing_store import refusing_store


def test_what_cannot_be_uploaded_is_named_and_what_can_is_there_at_once(embedded):
    with refusing_store() as store:
        shown = embedded.run(
            """
            from clearml import Model, StorageManager, Task
            from data_prep.errors import InputError
            from pipelines import tracking
            from pipelines.tracking import dataset_versions
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
            def register(store, gone=None):
                dataset = dataset_versions._next_version("set", None)
                dataset.add_files("photographs")
                if gone:
                    Path("photographs", gone).unlink()
                return dataset_versions._finish(dataset, store)
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
            show([failed, Task.get_task(task.id).artifacts["numbers"].get(),
                  Path(copy).read_text(), found.labels])
            """,
            store,
        )
    failed, numbers, weights, labels = shown
    for line, named in zip(
        failed, ("figures", "model.onnx", "Dataset set", "Dataset set"), strict=True
    ):
        assert line.startswith(f"{named} cannot be uploaded (")
        assert "run the command again" in line and "\n" not in line
    assert all("507" in line for line in failed[:2])
    assert "1 files are gone, such as a" in failed[3]
    assert (numbers, weights, labels) == ({"x": 1}, "a graph", {"A": 0, "B": 1})
