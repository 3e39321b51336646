"""A camera before which real people spell, whom the model has never seen."""

import os
from pathlib import Path

import browser
import pytest
from demo_command import running
from real_hands import make_artifacts, text_film
from test_page import ready, spells

from pipelines.repository import versions
from pipelines.serving.triton_server import TritonServer, pick_ports

pytestmark = [pytest.mark.slow, pytest.mark.real_data, pytest.mark.timeout(600)]

LEARNED = ("signer_3", "signer_4", "signer_6", "signer_7")


@pytest.fixture(scope="module")
def people():
    folder = Path(os.environ.get("ASL_TEST_DATA", "missing")) / "asl_webcams"
    if not folder.is_dir():
        pytest.skip("no asl_webcams in ASL_TEST_DATA")
    return folder


@pytest.fixture(scope="module")
def address(people, tmp_path_factory, home):
    if browser.find() is None:
        pytest.skip("no chromium on this machine (scripts/setup browser installs it)")
    folder = tmp_path_factory.mktemp("real")
    artifacts = make_artifacts(folder / "run", [people / name for name in LEARNED])
    versions.render(artifacts, folder / "models", {"task_id": "0" * 32})
    with TritonServer(folder / "models", *pick_ports(0, 0, 0)) as server:
        with running(server) as (address, _):
            yield address


@pytest.mark.parametrize("person, text", [("signer_5", "HELLO"), ("signer_1", "JAZZ")])
def test_the_camera_reads_what_a_stranger_spells(
    person, text, people, address, tmp_path
):
    camera = text_film(tmp_path / "camera.y4m", people / person, text)
    tab = browser.Browser(
        tmp_path / "profile",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    )
    try:
        ready(tab, address).run("document.querySelector('#camera').click()")
        spells(tab, text, 90)
        assert tab.complaints == []
    finally:
        tab.close()
