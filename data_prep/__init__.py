"""Raw sets of photographs, checked and prepared for training."""

import signal
import sys

# `python -m` imports the package of a command while its first argument is still "-m".
# Ctrl-C ends a command that has not begun yet at once, without the traceback of
# whatever was being imported; `exit_2_on_input_error` gives Python its handler back.
if sys.argv[:1] == ["-m"]:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
