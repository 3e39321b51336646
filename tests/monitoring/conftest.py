"""Prometheus and Alertmanager as Debian packs them, and stand-ins of who is told."""

import pytest
from prometheus import program


@pytest.fixture(scope="session")
def promtool() -> str:
    return program("promtool")


@pytest.fixture(scope="session")
def amtool() -> str:
    return program("amtool")
