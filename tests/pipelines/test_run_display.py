"""What somebody sees of a run: in a pipe, and on a terminal."""

import os
import pty
import subprocess
import sys
import textwrap

from data_prep import progress
from data_prep.paths import ROOT
from data_prep.progress import LiveLine, Progress, duration
from pipelines.tracking.task import first_of

PROGRAM = textwrap.dedent("""
    import subprocess, sys
    from pathlib import Path
    from pipelines.orchestration.run_display import RunDisplay

    step = '''
    import os, sys, time
    from data_prep.progress import LiveLine, warn
    print("noise of a step")
    print("more of it", file=sys.stderr)
    with LiveLine() as line:
        line.show("3 of 7 images")
    warn("one image is dark")
    with open(os.environ["ASL_CONSOLE"], "a") as messages:  # read before it is whole
        print('{"warning": "one is', end="", file=messages, flush=True)
        time.sleep(0.6)
        print(' small"}', file=messages)
    '''
    display = RunDisplay(Path(sys.argv[1]))
    with display.quiet():
        print("noise of the controller")
        display.start("prepare")
        subprocess.run([sys.executable, "-c", step], check=True)
        display.end("prepare", "7 images")
        with display.running("serve") as told:
            told.append("up")
    print("the end")
    """)


def run(log, **more):
    program = textwrap.dedent(PROGRAM)
    return subprocess.Popen([sys.executable, "-c", program, str(log)], cwd=ROOT, **more)


def test_a_pipe_gets_a_line_a_step_and_the_log_everything(tmp_path):
    log = tmp_path / "run.log"
    process = run(log, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = process.communicate(timeout=60)
    assert errors == ""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert lines[0].startswith("prepare 7 images") and lines[0].endswith(" s")
    assert lines[1:3] == ["warning: one image is dark", "warning: one is small"]
    assert lines[3].startswith("serve up")
    assert lines[4:] == ["the end"]
    kept = log.read_text()
    for noise in ("of the controller", "noise of a step", "more of it"):
        assert noise in kept


def test_a_terminal_shows_how_far_the_step_is(tmp_path):
    ours, theirs = pty.openpty()
    process = run(tmp_path / "run.log", stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "\rprepare    3 of 7 images" in text
    assert text.index("3 of 7 images") < text.index("7 images  ")
    assert "noise" not in text


def test_a_failing_run_gives_the_terminal_back(tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from data_prep.progress import warn\n"
        "from pipelines.orchestration.run_display import RunDisplay\n"
        "try:\n"
        "    display = RunDisplay(Path(sys.argv[1]))\n"
        "    with display.quiet(), display.running('prepare'):\n"
        "        warn('one image is dark')\n"
        "        raise ValueError('no')\n"
        "except ValueError as error:\n"
        "    print('error:', error, file=sys.stderr)\n"
        "print('still here')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run.log")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    warning = f"{'':11}warning: one image is dark\n"
    assert (done.stdout, done.stderr) == (f"{warning}still here\n", "error: no\n")


def test_of_many_warnings_the_first_are_shown_and_where_the_others_are(tmp_path):
    texts = [f"image {number} is dark" for number in range(8)]
    assert first_of(texts[:5], tmp_path) == texts[:5]
    assert first_of(texts, tmp_path) == [*texts[:5], f"and 3 more in {tmp_path}"]


def test_progress_says_how_many_of_how_many_and_how_long_still():
    progress = Progress("read", 1000, "photographs", is_shown=False)
    progress.update(50)
    progress.pace.first = (progress.pace.first[0] - 10, 50)
    progress.update(250, note="dark ones left out")
    text = progress.text("dark ones left out")
    assert text.startswith("read: 300 of 1,000 photographs, 25 a second, 28 s left")
    assert text.endswith("dark ones left out")


def test_how_fast_it_goes_is_said_only_once_the_beginning_is_over():
    progress = Progress("read", 1000, "photographs", is_shown=False)
    for _ in range(2):  # the first has waited for processes to start
        progress.update(64)
    assert progress.text() == "read: 128 of 1,000 photographs"


def test_durations_are_said_as_people_do():
    durations = [duration(seconds) for seconds in (0.4, 41.2, 185, 7800)]
    assert durations == ["0 s", "41 s", "3 min 5 s", "2 h 10 min"]


def test_in_a_log_lines_come_more_seldom_the_longer_the_work_takes(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    line = LiveLine()
    for clock[0] in range(3600):
        line.show(str(clock[0]))
    seconds = [int(text) for text in capsys.readouterr().err.splitlines()]
    assert seconds[:6] == [10, 20, 30, 45, 68, 102]
    assert seconds[-1] - seconds[-2] == 300
    assert len(seconds) < 25
