import pytest
from place import Place, interrupt


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A server without agents: what is started stays in its queue."""
    place = Place(tmp_path_factory.mktemp("place"))
    server = place.start(place.python, "-m", "pipelines.clearml_server")
    server.stdout.readline()
    yield place
    interrupt(server)
