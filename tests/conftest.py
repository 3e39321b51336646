import os
import signal

import pytest


def pytest_configure():
    """Programs that tests start must heed Ctrl-C.

    A shell starts background commands with SIGINT ignored, which all their children
    inherit; a handler of ours is not inherited, the default then is.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Servers of tests end with them, not minutes later.
    os.environ.setdefault("ASL_CLEARML_GRACE_SECONDS", "3")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """The data folder of all tests, in place of the user's: logs, backends, caches."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASL_HOME", str(home))
        yield home
