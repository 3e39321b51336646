"""Datasets of the real SDK on the embedded server."""

import pytest

pytestmark = pytest.mark.slow


def test_versions_of_a_dataset_are_found_by_name_and_version(embedded):
    shown = embedded.run("""
        from clearml import Dataset
        raw = Path("raw"); (raw / "sub").mkdir(parents=True)
        for i in range(5):
            (raw / "sub" / f"f{i}.txt").write_text("x" * i)
        (raw / "a.txt").write_text("hello")
        first = Dataset.create("letters", "Data sets", dataset_tags=["small"])
        first.add_files(raw); first.upload(show_progress=False); first.finalize()
        second = Dataset.create("letters", "Data sets", parent_datasets=[first.id])
        Path("b.txt").write_text("new")
        second.add_files("b.txt"); second.remove_files("a.txt")
        unfinished_hidden = Dataset.get(dataset_name="letters",
            dataset_project="Data sets", only_completed=True).id == first.id
        second.upload(show_progress=False); second.finalize()

        def files(dataset):
            copy = Path(dataset.get_local_copy())
            return sorted(str(p.relative_to(copy)) for p in copy.rglob("*.txt"))
        found = Dataset.get(dataset_name="letters", dataset_project="Data sets",
                            only_completed=True, alias="letters")
        old = Dataset.get(dataset_name="letters", dataset_project="Data sets",
                          dataset_version="1.0.0")
        listed = Dataset.list_datasets(dataset_project="Data sets")
        tagged = Dataset.list_datasets(tags=["small"])
        show({
            "newest": found.id == second.id, "old": old.id == first.id,
            "unfinished_hidden": unfinished_hidden, "version": found.version,
            "files": files(found), "old files": files(old),
            "listed": sorted(d["version"] for d in listed),
            "tagged": [d["id"] for d in tagged] == [first.id],
            "hello": (Path(old.get_local_copy()) / "a.txt").read_text(),
            "size": found.file_entries_dict["b.txt"].size,
        })
        """)
    kept = [f"sub/f{i}.txt" for i in range(5)]
    assert shown["newest"] and shown["old"] and shown["unfinished_hidden"]
    assert shown["version"] == "1.0.1" and shown["listed"] == ["1.0.0", "1.0.1"]
    assert shown["files"] == ["b.txt", *kept]
    assert shown["old files"] == ["a.txt", *kept]
    assert shown["tagged"] and shown["hello"] == "hello" and shown["size"] == 3


def test_datasets_are_synced_squashed_published_moved_and_deleted(embedded):
    shown = embedded.run("""
        from clearml import Dataset, StorageManager
        raw = Path("synced"); raw.mkdir()
        for i in range(4):
            (raw / f"{i}.txt").write_text(str(i))
        def done(dataset):
            dataset.upload(show_progress=False); dataset.finalize(); return dataset
        def get(**query):
            return Dataset.get(dataset_name="set", dataset_project="Data life", **query)
        first = Dataset.create("set", "Data life"); first.add_files(raw); done(first)
        (raw / "new.txt").write_text("new"); (raw / "0.txt").unlink()
        (raw / "1.txt").write_text("changed")
        second = Dataset.create("set", "Data life", parent_datasets=[first.id])
        seen = {"sync": second.sync_folder(raw)}
        done(second)
        second = Dataset.get(second.id)
        seen["changes"] = [second.list_added_files(), second.list_removed_files(),
                           second.list_modified_files()]
        seen["graph"] = second.get_dependency_graph() == {
            first.id: [], second.id: [first.id]}
        copy = Path(second.get_mutable_local_copy("copy"))
        seen["copy"] = {p.name: p.read_text() for p in copy.iterdir()}
        seen["broken"] = second.verify_dataset_hash()
        squashed = Dataset.squash("squashed", dataset_ids=[first.id, second.id])
        seen["squashed"] = len(squashed.list_files())
        outside = Dataset.create("outside", "Data life")
        outside.add_external_files(f"file://{raw.resolve()}/2.txt"); done(outside)
        seen["outside"] = outside.list_files()
        first.publish()
        seen["published"] = get(only_published=True).id == first.id
        writable = get(writable_copy=True)
        seen["writable"] = [writable.id != second.id, len(writable.list_files())]
        writable.tags = ["draft"]
        seen["tag"] = [d["id"] for d in Dataset.list_datasets(
            tags=["draft"], only_completed=False)] == [writable.id]
        Dataset.move_to_project("Moved", "Data life", "squashed")
        seen["moved"] = Dataset.get(squashed.id).project
        Dataset.delete(dataset_id=writable.id, force=True)
        Dataset.delete(dataset_id=second.id, force=True)
        seen["left"] = sorted(d["name"] + d["version"]
                              for d in Dataset.list_datasets("Data life"))
        files = Path(os.environ["ASL_HOME"]) / "clearml/files/Data life"
        seen["files"] = any(second.id in str(p) for p in files.rglob("*"))
        show(seen)
        """)
    assert shown == {
        "sync": [1, 1, 1],
        "changes": [["new.txt"], ["0.txt"], ["1.txt"]],
        "graph": True,
        "copy": {"1.txt": "changed", "2.txt": "2", "3.txt": "3", "new.txt": "new"},
        "broken": [],
        "squashed": 5,
        "outside": ["2.txt"],
        "published": True,
        "writable": [True, 4],
        "tag": True,
        "moved": "Moved",
        "left": ["outside1.0.0", "set1.0.0"],
        "files": False,
    }


def test_the_command_line_makes_and_lists_datasets(embedded):
    shown = embedded.run("""
        import shutil, subprocess, sys
        tool = Path(sys.executable).with_name("clearml-data")
        def data(*arguments):
            done = subprocess.run([sys.executable, tool, *arguments], text=True,
                                  capture_output=True)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout
        Path("cli").mkdir(); (Path("cli") / "a.txt").write_text("a")
        created = data("create", "--project", "Command", "--name", "line")
        id_ = created.split("id=")[1].split()[0]
        data("add", "--id", id_, "--files", "cli")
        data("close", "--id", id_)
        listed = data("list", "--id", id_)
        found = data("search", "--project", "Command")
        copy = data("get", "--id", id_, "--copy", "cli copy")
        show({"listed": "a.txt" in listed, "found": id_ in found,
              "copy": (Path("cli copy") / "a.txt").read_text()})
        """)
    assert shown == {"listed": True, "found": True, "copy": "a"}


def test_a_copy_that_was_not_written_whole_is_refused_and_made_anew(embedded):
    shown = embedded.run("""
        import resource, zipfile
        from clearml import Dataset
        from data_prep.errors import InputError
        from pipelines.tracking.dataset_copies import local_copy
        prepared = Path("prepared"); (prepared / "train").mkdir(parents=True)
        (prepared / "classes.txt").write_text("A")
        (prepared / "train" / "images.npy").write_bytes(bytes(4_000_000))
        dataset = Dataset.create("whole", "Data copies")
        dataset.add_files(prepared)
        dataset.upload(show_progress=False, compression=zipfile.ZIP_DEFLATED)
        dataset.finalize()
        limit, highest = resource.getrlimit(resource.RLIMIT_FSIZE)
        # as on a full disk: no file of this program can grow beyond it
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, highest))
        try:
            said = local_copy(dataset.id)
        except InputError as error:
            said = error
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, highest))
        copy = local_copy(dataset.id)
        (copy / "train" / "images.npy").unlink()
        again = local_copy(dataset.id)
        show([said, copy, again, (again / "train" / "images.npy").stat().st_size])
        """)
    said, copy, again, size = shown
    assert f" of Dataset {copy.rpartition('_')[2]} in {copy} lacks " in said
    assert " of its 2 files, such as train/images.npy; they" in said
    assert "they take 4 MB, and " in said and " MB are free: " in said
    assert again == copy and size == 4_000_000
