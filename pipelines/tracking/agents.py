"""Is there an agent that would run what is put into a queue?"""

from data_prep.errors import InputError
from data_prep.progress import warn
from pipelines.clearml_server.home import home_folder
from pipelines.tracking.connection import is_configured


def check_agents(queue: str) -> None:
    """Check that an agent listens to a queue, before anybody waits for it.

    On the user's own server it may be started later (a machine in the cloud, say), so
    there it is a warning.

    Raises:
        InputError: None listens, and the server is the embedded one.
    """
    if is_heard(queue):
        return
    if is_configured(home_folder()):
        warn(
            f"no agent listens to the queue {queue} now; the steps wait until one "
            f"does: clearml-agent daemon --queue {queue}"
        )
        return
    raise InputError(
        f"no agent listens to the queue {queue}; run the steps on this machine with "
        "--local, or start agents in another terminal with scripts/agents"
    )


def is_heard(queue: str) -> bool:
    """Does an agent listen to the queue of this name?"""
    from clearml.backend_api.session.client import APIClient

    workers = APIClient().workers.get_all()
    return any(queue == x.name for worker in workers for x in worker.queues or ())
