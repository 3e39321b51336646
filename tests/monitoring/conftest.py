"""Prometheus and Alertmanager as Debian packs them, and stand-ins of who is told."""

import shutil
import sys
from pathlib import Path

import pytest

from data_prep.paths import ROOT

sys.path.append(str(ROOT / "tests" / "serving"))  # the small model

TEMPLATES = Path("/usr/share/prometheus/alertmanager/default.tmpl")
UNPACKED = ROOT / ".monitoring" / "usr" / "bin"


def program(name: str) -> str:
    """Find one of Prometheus's programs; skip the test where there is none."""
    found = shutil.which(name) or UNPACKED / name
    if not Path(found).exists():
        pytest.skip(f"there is no {name}: scripts/setup monitoring fetches it")
    if name == "prometheus-alertmanager" and not TEMPLATES.exists():
        pytest.skip(
            f"Alertmanager has no {TEMPLATES}: scripts/setup monitoring as root"
        )
    return str(found)


@pytest.fixture(scope="session")
def promtool() -> str:
    return program("promtool")


@pytest.fixture(scope="session")
def amtool() -> str:
    return program("amtool")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """Keep logs and backends of all servers out of the user's data folder."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASL_HOME", str(home))
        yield home
