"""Fixtures of the data tests."""

import os
from pathlib import Path

import pytest
from raw_sets import write_raw_set


@pytest.fixture
def raw(tmp_path):
    return write_raw_set(tmp_path / "raw")


@pytest.fixture
def real_data():
    """The folder of public photographs named by ASL_TEST_DATA."""
    folder = os.environ.get("ASL_TEST_DATA")
    if not folder:
        pytest.skip("ASL_TEST_DATA names no folder of real photographs")
    return Path(folder)
