"""A camera before which real people spell, whom the model has never seen."""

import json
import os
from pathlib import Path

import browser
import cv2
import numpy as np
import pytest
from demo_command import running
from drawn_model import frame, points
from real_hands import make_artifacts, text_film
from test_gateway import ask
from test_page import ready, spells

from pipelines.repository import versions
from pipelines.serving.triton_server import TritonServer, pick_ports

pytestmark = [
    pytest.mark.slow,
    pytest.mark.campaign,
    pytest.mark.real_data,
    pytest.mark.timeout(600),
]

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


@pytest.mark.parametrize("width, height", [(640, 480), (480, 640)])
def test_the_points_of_a_hand_lie_where_it_is_in_an_oblong_photograph(
    width, height, address
):
    """Of a drawn hand, since there the truth is known."""
    drawn = cv2.resize(frame("L"), (640, 480), interpolation=cv2.INTER_CUBIC)
    left, below = (640 - width) // 2, height - 480
    photograph = cv2.copyMakeBorder(
        drawn[:, left : left + width], 0, below, 0, 0, cv2.BORDER_REPLICATE
    )
    wanted = points("L") * (640, 480) - (left, 0)
    png = cv2.imencode(".png", photograph)[1].tobytes()

    found = json.loads(ask(address, "/predict", png)[1])

    seen = np.array(found["landmarks"])[:, :2] * (width, height)
    away = np.linalg.norm(seen - wanted, axis=1)
    assert np.median(away) < 0.2 * np.linalg.norm(wanted[9] - wanted[0])


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
