"""What a process that we start must do before it becomes another program."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def end_with_parent(parent: int) -> None:
    """In the child: be told to end when its parent does, even if that is killed.

    For `subprocess.Popen`'s ``preexec_fn``; Linux only.

    Args:
        parent: Id of the process that starts it.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has ended before we could ask
        os._exit(1)
