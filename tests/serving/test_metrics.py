"""What the models count of their own accord, as Prometheus sees it."""

import re
import time
import urllib.request

import numpy as np
import pytest
from matrix_model import expect

from data_prep.errors import InputError
from pipelines.repository.layout import DECODE, FUSED, part_name
from pipelines.repository.model_config import Settings
from pipelines.serving import deployment, model_control
from pipelines.serving.client import TritonClient

pytestmark = pytest.mark.slow


def exposed(server) -> str:
    with urllib.request.urlopen(server.metrics_url) as answer:
        return answer.read().decode()


def counted(server, part) -> dict[tuple[str, str], float]:
    """The sums over a part's instances, by metric and further label."""
    sums = {}
    for line in exposed(server).splitlines():
        found = re.fullmatch(r'(asl_\w+)\{(.*)instance="(\w+)_0_\d+"(.*)\} (\S+)', line)
        if found and found[3] == part:
            value = re.search(r'(?:class|le)="([^"]*)"', found[2] + found[4])
            key = found[1], value[1] if value else ""
            sums[key] = sums.get(key, 0) + float(found[5])
    return sums


@pytest.mark.parametrize("shape", ["fused", "ensemble"])
def test_images_failures_classes_and_confidence_are_counted(
    shape, server, artifacts, photographs, redeploy
):
    settings = Settings(instances=1, shape=shape)
    urls = {"grpc": server.grpc_url}
    record = deployment.deploy(
        artifacts, server.repository, {"for": "metrics"}, settings, urls
    )
    kind = {"fused": FUSED, "ensemble": DECODE}[shape]
    part = part_name(kind, record["version"])
    files = [path.read_bytes() for path in photographs.values()]
    expected = expect(artifacts, files)
    with TritonClient(server.grpc_url) as ask:

        def settled():
            """What is known a second later, when the next request makes it known."""
            time.sleep(1.1)
            ask(files)
            return counted(server, part)

        before = settled()
        for _ in range(3):
            with pytest.raises(InputError, match="broken image"):
                ask([b"no photograph"])
            ask(files)
            assert model_control.probe(server.grpc_url) is None  # is not counted
        after = settled()

    def grown(*key):
        return after[key] - before.get(key, 0)

    rounds = 4
    assert grown("asl_images_total", "") == rounds * len(files)
    assert grown("asl_refused_requests_total", "") == 3
    assert grown("asl_decode_seconds_total", "") > 0
    classes = {key for key in after if key[0] == "asl_predictions_total"}
    assert bool(classes) == (shape == "fused")
    if classes:
        labels = (artifacts / "classes.txt").read_text().split()
        best = np.bincount(expected.argmax(1), minlength=len(labels))
        for label, number in zip(labels, best):
            assert grown("asl_predictions_total", label) == rounds * number
        for bound in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99):
            below = (expected.max(1) <= bound).sum()
            assert grown("asl_confidence_bucket", str(bound)) == rounds * below
        assert grown("asl_confidence_bucket", "+Inf") == rounds * len(files)
        sure = rounds * expected.max(1).sum()
        assert grown("asl_confidence_sum", "") == pytest.approx(sure, rel=1e-4)
    assert f'model="asl",version="{record["version"]}"' in exposed(server)
