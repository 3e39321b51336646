"""`ensure_clearml`: one server for all, started when needed, gone when unused."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from data_prep.paths import ROOT

PROGRAM = """
import json, os, sys
from pipelines.tracking.connection import ensure_clearml
assert ensure_clearml() == ensure_clearml()
assert "clearml" not in sys.modules and "torch" not in sys.modules
print(json.dumps([ensure_clearml(), os.environ["CLEARML_CONFIG_FILE"]]), flush=True)
sys.stdin.read()
"""


def _program(own_embedded, text=PROGRAM, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=ROOT,
        env=own_embedded.environment | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_programs_that_start_at_once_share_one_server_that_ends_after_them(
    own_embedded,
):
    grace = {"ASL_CLEARML_GRACE_SECONDS": "1"}
    programs = [_program(own_embedded, **grace) for _ in range(3)]
    answers = [json.loads(program.stdout.readline()) for program in programs]
    assert answers == [answers[0]] * 3
    server = json.loads((own_embedded.home / "server.json").read_text())
    assert server["address"] == answers[0][0]
    programs[0].communicate()
    programs[1].kill()
    programs[1].communicate()
    time.sleep(3)
    os.kill(server["pid"], 0)  # the third still uses it
    programs[2].communicate()
    deadline = time.monotonic() + 20
    while (own_embedded.home / "server.json").exists():
        assert time.monotonic() < deadline, "the server did not end"
        time.sleep(0.1)


def test_a_configured_server_is_left_alone(own_embedded):
    host = {"CLEARML_WEB_HOST": "http://w:2"}
    text = (
        "import os; from pipelines.tracking.connection import ensure_clearml; "
        "print(ensure_clearml(), os.environ.get('CLEARML_CONFIG_FILE'))"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        for name in ("CLEARML_API_HOST", "CLEARML_FILES_HOST"):
            host[name] = f"http://127.0.0.1:{server.getsockname()[1]}"
        output, _ = _program(own_embedded, text, **host).communicate(timeout=60)
    assert output.split() == ["http://w:2", "None"]
    assert not own_embedded.home.exists()
