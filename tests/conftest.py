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


DURATIONS = Path(__file__).with_name("durations.txt")
SHOWN_FROM = 120  # seconds of all tests: shorter runs are of a few files


def pytest_addoption(parser):
    parser.addoption(
        "--keep-durations",
        action="store_true",
        help="write the seconds of each file to tests/durations.txt",
    )


def kept_durations() -> dict[str, float]:
    """The seconds of each file in the run that was kept."""
    lines = [line.split() for line in DURATIONS.read_text().splitlines()]
    return {line[2]: float(line[0]) for line in lines if line and line[0] != "#"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Long files first, so that none of them is what all wait for in the end; before
    them those that the table does not know."""
    seconds = kept_durations()
    root = Path(__file__).parent.parent
    for item in items:
        if item.get_closest_marker("campaign"):
            item.add_marker("slow")

    def length(item) -> float:
        return seconds.get(item.path.relative_to(root).as_posix(), float("inf"))

    items.sort(key=length, reverse=True)


def pytest_terminal_summary(terminalreporter):
    """Show where the time of a long run went, file by file."""
    seconds, tests = Counter(), Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                file = report.nodeid.partition("::")[0]
                seconds[file] += report.duration
                tests[file] += report.when == "call"
    table = [f"{s:7.1f} {tests[file]:5}  {file}" for file, s in seconds.most_common()]
    if seconds.total() >= SHOWN_FROM:
        terminalreporter.section("seconds and tests by file")
        terminalreporter.write_line("\n".join(table))
        total = f"{seconds.total():7.1f} {tests.total():5}  all files"
        terminalreporter.write_line(total)
    if terminalreporter.config.getoption("--keep-durations"):
        cores = len(os.sched_getaffinity(0))
        told = f"# seconds, tests, file; {processor()}, {cores} cores\n"
        DURATIONS.write_text(told + "".join(f"{line}\n" for line in table))


def processor() -> str:
    """The name of the machine's processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(x.partition(": ")[2] for x in lines if x.startswith("model name"))
