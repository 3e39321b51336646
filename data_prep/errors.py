"""One way to tell a user about bad input: a sentence on standard error, exit code 2."""

import errno
import functools
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.paths import data_home


class InputError(Exception):
    """The input is at fault, not the program.

    The message is one line that names the thing, the value seen and the remedy.
    """


FULL = errno.ENOSPC, errno.EDQUOT
CLOSED = errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR


@contextmanager
def unwritable_is_input_error() -> Iterator[None]:
    """Tell the user of a full disk, or of a data folder that cannot be written: that
    is no defect of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            file = f"{error.filename} cannot be written: " if error.filename else ""
            raise InputError(
                f"{file}the disk is full; make room and run the command again (all "
                "that commands make lies in the data folder, .asl or $ASL_HOME)"
            ) from None
        if error.errno in CLOSED and _is_ours(error.filename):
            raise InputError(
                f"{error.filename} cannot be written ({error.strerror}); let ASL_HOME "
                "name a folder that can, for all that commands make"
            ) from None
        raise


def _is_ours(path) -> bool:
    """Does a path lie in the data folder, or the data folder in it?"""
    if not isinstance(path, (str, os.PathLike)):
        return False
    home, path = data_home(), Path(path)
    return path.is_relative_to(home) or home.is_relative_to(path)


def exit_2_on_input_error(main):
    """Decorate a command's ``main``: InputError ends the process with exit code 2.

    Ctrl-C and SIGTERM end it with 130, without a traceback; everything else is a defect
    of ours and keeps its traceback.
    """

    @functools.wraps(main)
    def wrapper(*args, **kwargs):
        for number in (signal.SIGINT, signal.SIGTERM):  # see also data_prep/__init__
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, signal.default_int_handler)
        try:
            with unwritable_is_input_error():
                return main(*args, **kwargs)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt as error:
            print("interrupted", *error.args, file=sys.stderr)
            sys.exit(130)

    return wrapper
