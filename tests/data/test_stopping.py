"""How commands end that run until they are stopped."""

import signal
import subprocess
import sys
import textwrap

import pytest

from data_prep.errors import exit_2_on_input_error
from data_prep.paths import ROOT

# A server that only an exception ends, and one that is asked to end.
SLEEPING = "with until_stopped():\n    begin(); time.sleep(60)"
ASKED = "with until_stopped(over.set):\n    begin(); over.wait(60)"
PROGRAM = """
import threading, time
from data_prep.stopping import until_stopped

def begin():
    print("begun", flush=True)

over = threading.Event()
try:
{block}
    print("returned", flush=True)
finally:
    print("tidied up", flush=True)
"""


@pytest.mark.parametrize("block", [SLEEPING, ASKED], ids=["sleeping", "asked"])
@pytest.mark.parametrize(
    "number, code, said",
    [
        (signal.SIGINT, 130, ["stopping", "tidied up"]),
        (signal.SIGTERM, 0, ["stopping", "returned", "tidied up"]),
    ],
    ids=["SIGINT", "SIGTERM"],
)
def test_ctrl_c_ends_a_server_with_130_and_sigterm_with_0(block, number, code, said):
    program = PROGRAM.format(block=textwrap.indent(block, "    "))
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (code, "")
    assert output.split("\n")[1:-1] == said


def test_whoever_interrupts_a_command_is_told_how_it_goes_on(capsys):
    @exit_2_on_input_error
    def interrupted():
        raise KeyboardInterrupt("in the step train")

    with pytest.raises(SystemExit, match="130"):
        interrupted()
    assert capsys.readouterr().err == "interrupted in the step train\n"


def test_a_data_folder_that_is_none_is_told_in_one_line(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ASL_HOME", str(tmp_path / "file"))

    @exit_2_on_input_error
    def make(path):
        path.mkdir(parents=True)

    with pytest.raises(SystemExit, match="2"):
        make(tmp_path / "file" / "runs")
    told = capsys.readouterr().err
    assert "cannot be written" in told and "ASL_HOME" in told
    with pytest.raises(FileExistsError):  # no fault of the data folder's
        make(tmp_path)
