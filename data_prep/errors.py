"""One way to tell a user about bad input: a sentence on standard error, exit code 2."""

import functools
import signal
import sys


class InputError(Exception):
    """The input is at fault, not the program.

    The message is one line that names the thing, the value seen and the remedy.
    """


def exit_2_on_input_error(main):
    """Decorate a command's ``main``: InputError ends the process with exit code 2.

    Ctrl-C ends it with 130, without a traceback; everything else is a defect of
    ours and keeps its traceback.
    """

    @functools.wraps(main)
    def wrapper(*args, **kwargs):
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see data_prep/__init__
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return main(*args, **kwargs)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)

    return wrapper
