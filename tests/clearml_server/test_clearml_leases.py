"""Who uses the server, and when it is too late to."""

import os
import subprocess
import sys
import threading

from pipelines.clearml_server import leases


def test_a_server_with_a_user_cannot_be_closed_to_others():
    users = leases.Leases()
    assert users.add(os.getpid())
    assert not users.close()
    assert users.add(os.getppid())


def test_who_comes_after_the_last_user_was_missed_is_turned_away(monkeypatch):
    monkeypatch.setattr(leases, "GRACE_SECONDS", 0.1)
    users = leases.Leases()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process:
        assert users.add(process.pid)
        end = threading.Thread(target=users.wait_until_unused, args=[threading.Event()])
        end.start()
        end.join(1.5)
        assert end.is_alive()
    end.join(20)
    assert not end.is_alive()
    assert not users.add(os.getpid())
