"""Validation finds what would break a model: one test a finding."""

import json

import pytest
from raw_sets import encoded, picture, write, write_raw_set

from data_prep.errors import InputError
from data_prep.sources import find_images
from data_prep.validation import require_ok, validate


@pytest.fixture
def check(raw, tmp_path):
    """Validate the raw set as it is then: its findings by kind."""

    def run(**options):
        result = validate(find_images([raw]), tmp_path / "report", 1, **options)
        return {finding["kind"]: finding for finding in result["findings"]}

    return run


def test_a_clean_set_has_no_findings_and_a_full_report(raw, tmp_path):
    result = validate(find_images([raw]), tmp_path / "report", 2)
    text = (tmp_path / "report" / "validation.json").read_text(encoding="utf-8")
    assert json.loads(text) == result
    assert result["ok"] and not result["findings"]
    assert result["classes"] == {"A": 12, "B": 12, "C": 12}
    assert result["sources"] == {"raw": result["classes"]}
    assert (tmp_path / "report" / "samples.png").stat().st_size > 1000
    require_ok(result)


def test_truncated_empty_and_foreign_files_are_unreadable(raw, check):
    whole = (raw / "A" / "A1.jpg").read_bytes()
    write(raw / "A" / "cut.jpg", whole[: len(whole) // 2])
    write(raw / "A" / "empty.png", b"")
    write(raw / "A" / "text.jpg", b"Sorry, the page was not found.")
    found = check()["unreadable"]
    assert found["severity"] == "error" and found["count"] == 3
    assert [p.split("/")[-1] for p in found["examples"]] == [
        "cut.jpg",
        "empty.png",
        "text.jpg",
    ]


def test_errors_stop_with_one_line_that_names_a_file(raw, tmp_path):
    write(raw / "A" / "text.jpg", b"Sorry")
    result = validate(find_images([raw]), tmp_path / "report", 1)
    assert not result["ok"]
    with pytest.raises(InputError, match="raw/A/text.jpg") as error:
        require_ok(result)
    assert "\n" not in str(error.value)


def test_an_empty_class_folder_is_an_error(raw, check):
    (raw / "D").mkdir()
    assert check()["empty_class"]["examples"] == ["D"]


def test_missing_and_unknown_classes_are_held_against_the_expected_ones(check):
    found = check(expected=["A", "B", "Z"])
    assert found["missing_class"]["examples"] == ["Z"]
    assert found["unknown_class"]["examples"] == ["C"]


def test_a_photograph_in_two_classes_is_a_conflict_of_labels(raw, check):
    write(raw / "B" / "other.jpg", (raw / "A" / "A0.jpg").read_bytes())
    found = check()["conflicting_labels"]
    assert found["severity"] == "error"
    assert sorted(found["examples"]) == ["raw/A/A0.jpg", "raw/B/other.jpg"]


def test_a_repetition_within_a_class_is_only_a_warning(raw, check):
    write(raw / "A" / "again.jpg", (raw / "A" / "A0.jpg").read_bytes())
    found = check()
    assert found["exact_duplicates"]["severity"] == "warning"
    assert found["exact_duplicates"]["examples"] == ["raw/A/again.jpg"]


def test_a_nested_copy_of_the_whole_set_is_found(raw, check):
    write_raw_set(raw / "raw_train")
    found = check()["nested_copy"]
    assert found["severity"] == "error" and found["count"] == 36
    assert found["details"] == {"source": "raw/raw_train", "of": "raw"}


def test_near_duplicates_are_counted_by_class(raw, check):
    write(raw / "A" / "brighter.png", encoded(picture(0) + 3, ".png"))
    found = check()["near_duplicates"]
    assert found["details"]["share_by_class"]["A"] == round(2 / 13, 4)
    assert found["details"]["share_by_class"]["B"] == 0
