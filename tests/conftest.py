import os
import signal
from collections import Counter
from pathlib import Path

import pytest


def pytest_configure():
    """Programs that tests start must heed Ctrl-C.

    A shell starts background commands with SIGINT ignored, which all their children
    inherit; a handler of ours is not inherited, the default then is.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Servers of tests end with them, not minutes later.
    os.environ.setdefault("ASL_CLEARML_GRACE_SECONDS", "3")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """The data folder of all tests, in place of the user's: logs, backends, caches."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASL_HOME", str(home))
        yield home


# Begun first, so that none of them is what all wait for in the end.
LONGEST = (
    "agents/test_agents.py",
    "pipelines/test_chain.py",
    "training/hands/test_hand_drawn_only.py",
    "serving/test_swapping.py",
    "monitoring/test_faults.py",
    "data/test_commands.py",
    "training/hands/test_hand_training.py",
    "pipelines/test_promote.py",
    "serving/test_lifecycle.py",
    "clearml_server/test_clearml_sdk_pipelines.py",
    "demo/test_page.py",
    "training/test_run.py",
)
SHOWN_FROM = 120  # seconds of all tests: shorter runs are of a few files


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    here = Path(__file__).parent
    items.sort(
        key=lambda item: places.get(item.path.relative_to(here).as_posix(), len(places))
    )


def pytest_terminal_summary(terminalreporter):
    """Show where the time of a long run went, file by file."""
    seconds, tests = Counter(), Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                file = report.nodeid.partition("::")[0]
                seconds[file] += report.duration
                tests[file] += report.when == "call"
    if seconds.total() < SHOWN_FROM:
        return
    terminalreporter.section("seconds and tests by file")
    for file, spent in seconds.most_common():
        terminalreporter.write_line(f"{spent:7.1f} {tests[file]:5}  {file}")
    terminalreporter.write_line(f"{seconds.total():7.1f} {tests.total():5}  all files")
