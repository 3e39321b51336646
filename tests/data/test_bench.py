"""The speed comparison runs and counts right (no figures are asserted)."""

import hashlib
from collections import Counter

import pytest
from raw_sets import write_raw_set

from benchmarks.data import WAYS, compare, enlarge
from data_prep.preprocessing import decode
from data_prep.sources import find_images


def test_an_enlarged_set_has_the_same_pixels_and_no_two_equal_files(raw, tmp_path):
    larger = find_images([enlarge(raw, 3, tmp_path / "larger")]).images
    assert Counter(i.label for i in larger) == {"A": 36, "B": 36, "C": 36}
    files = [hashlib.sha256(i.read()).hexdigest() for i in larger]
    assert len(set(files)) == 108
    pixels = [hashlib.sha256(decode(i.read()).tobytes()).hexdigest() for i in larger]
    assert set(Counter(pixels).values()) == {3}


@pytest.mark.slow
def test_every_way_is_measured_on_all_images(tmp_path):
    raw = write_raw_set(tmp_path / "raw", count=70)
    best = compare(raw, repeats=1, workers=2)
    assert set(best) == set(WAYS)
    for result in best.values():
        assert result["images"] == 210
        assert result["seconds"] > 0 and result["cpu"] > 0
        assert min(result["memory"]) > 10
