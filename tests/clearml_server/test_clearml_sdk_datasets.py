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
