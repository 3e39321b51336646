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
    lines = DURATIONS.read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {file: float(seconds) for seconds, file in rows}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Long files first, so that none of them is what all wait for in the end; the
    table knows the longest."""
    seconds = kept_durations()
    root = Path(__file__).parent.parent
    for item in items:
        if item.get_closest_marker("campaign"):
            item.add_marker("slow")

    def length(item) -> float:
        return seconds.get(item.path.relative_to(root).as_posix(), 0.0)

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
    if terminalreporter.config.getoption("--keep-durations"):
        keep_durations(seconds)
    if seconds.total() < SHOWN_FROM:
        return
    terminalreporter.section("seconds and tests by file")
    for file, spent in seconds.most_common():
        terminalreporter.write_line(f"{spent:7.1f} {tests[file]:5}  {file}")
    terminalreporter.write_line(f"{seconds.total():7.1f} {tests.total():5}  all files")


def keep_durations(seconds: Counter) -> None:
    """Write what each file took, and on what machine."""
    cores = len(os.sched_getaffinity(0))
    lines = [f"# Seconds of each file in one run; {cores} cores, {processor()}."]
    lines += [f"{spent:7.1f}  {file}" for file, spent in seconds.most_common()]
    DURATIONS.write_text("".join(f"{line}\n" for line in lines))


def processor() -> str:
    """The name of the machine's processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(x.partition(": ")[2] for x in lines if x.startswith("model name"))
