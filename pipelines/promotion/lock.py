"""If two promotions run at once, the second waits for the end of the first.

On one machine a lock file ensures that. Between machines the server does: each
promotion is a running task of a type of its own, and the server notes when it started.
The one that started first goes on; the others wait until it has ended, and look again.
A promotion that was killed, and does not report any more, is ignored.
"""

import fcntl
import time
from contextlib import contextmanager
from datetime import timedelta

from data_prep.errors import InputError
from data_prep.paths import data_home
from pipelines.tracking.datasets import PROJECT

TYPE = "custom"  # no other task of the project has it
POLL_SECONDS = 1.0
WAIT_SECONDS = 900.0
# A running task is heard of every half minute.
SILENT = timedelta(minutes=5)


@contextmanager
def only_promotion(task):
    """Be the only promotion at work on this machine and on this server.

    Args:
        task: The running promotion's, of the type `TYPE`.

    Raises:
        InputError: Another one does not end.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    data_home().mkdir(parents=True, exist_ok=True)
    with open(data_home() / "promotion.lock", "a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                other = earlier(task)
                if other is None:
                    break
                name = f"promotion {other.id}"
                fcntl.flock(lock, fcntl.LOCK_UN)  # it may be waiting for this one
            except BlockingIOError:
                name = "another promotion on this machine"
            if time.monotonic() > deadline:
                raise InputError(
                    f"{name} has not ended within {WAIT_SECONDS / 60:.0f} minutes; "
                    "abort its task, then promote again"
                )
            time.sleep(POLL_SECONDS)
        yield


def earlier(task):
    """The running promotion that started before this one, None if there is none."""
    from clearml import Task

    task.set_progress(1)  # the server notes the time: its clock, not ours
    running = Task.get_tasks(
        project_name=PROJECT,
        task_filter={"type": [TYPE], "status": ["in_progress"]},
    )
    task.reload()
    claims = [
        (other.data.started, other.id, other)
        for other in running
        if task.data.last_update - other.data.last_update < SILENT
    ]
    own = (task.data.started, task.id)
    return next((other for *claim, other in sorted(claims) if tuple(claim) < own), None)
