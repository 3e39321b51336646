"""Start programs that end when we do, even if we are killed; Linux only.

``python child_process.py PID COMMAND...`` asks the kernel for it and then becomes the
command. It is a program of its own, and no ``preexec_fn`` of `subprocess.Popen`, since
that runs Python in a fork: where we have threads, one of their locks may be held there
for ever.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def ending_with_us(command: list[str]) -> list[str]:
    """The command line that runs a command so that it is told to end (SIGTERM) when
    this process ends. Start it from the main thread: the kernel looks at the thread.
    """
    return [sys.executable, "-I", __file__, str(os.getpid()), *command]


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == int(sys.argv[1]):  # else it ended before we could ask
        os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
