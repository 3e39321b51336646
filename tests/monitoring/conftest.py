"""Prometheus and Alertmanager as Debian packs them, and stand-ins of who is told."""

import sys

import pytest
from prometheus import program

from data_prep.paths import ROOT

sys.path.append(str(ROOT / "tests" / "serving"))  # the small model


@pytest.fixture(scope="session")
def promtool() -> str:
    return program("promtool")


@pytest.fixture(scope="session")
def amtool() -> str:
    return program("amtool")
