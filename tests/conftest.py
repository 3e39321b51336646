import os
import signal


def pytest_configure():
    """Programs that tests start must heed Ctrl-C.

    A shell starts background commands with SIGINT ignored, which all their children
    inherit; a handler of ours is not inherited, the default then is.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Servers of tests end with them, not minutes later.
    os.environ.setdefault("ASL_CLEARML_GRACE_SECONDS", "3")
