import json

import pytest
from place import Place, interrupt
from sdk_process import sdk_process


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A server without agents: what is started stays in its queue."""
    place = Place(tmp_path_factory.mktemp("place"))
    server = place.start(place.python, "-m", "pipelines.clearml_server")
    server.stdout.readline()
    with sdk_process(place.python, place.checkout, place.environment) as run:
        place.show = lambda program: json.loads(run(program))
        yield place
    interrupt(server)
