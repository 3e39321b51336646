"""How commands end that run until they are stopped."""

import signal
import subprocess
import sys
import textwrap

import pytest

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
