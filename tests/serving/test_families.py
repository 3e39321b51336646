"""Graphs as training exports them, deployed, and asked by a client.

The graphs of all families are compared with torch in tests/training/test_models.py, in
the server's own version of ONNX Runtime, too. Here are those that differ in kind.
"""

import numpy as np
import pytest

from benchmarks.serve_models import make_artifacts
from pipelines.serving.client import TritonClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    "network",
    [
        "small_resnet:hand",
        pytest.param("small_resnet:int8", marks=pytest.mark.campaign),
        pytest.param("mobilenet_v3_small", marks=pytest.mark.campaign),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_server_answers_photographs_as_training_does(
    network, server, redeploy, photographs, tmp_path
):
    files = [path.read_bytes() for path in photographs.values()]
    artifacts = make_artifacts(tmp_path / "artifacts", network, files, 32)
    with np.load(artifacts / "golden.npz") as golden:
        expected = golden["probabilities"]  # torch's; of int8 ONNX Runtime's

    redeploy(artifacts)

    with TritonClient(server.grpc_url) as ask:
        np.testing.assert_allclose(ask(files), expected, rtol=0, atol=1e-4)
    assert 0.01 < expected.max() < 0.99  # so that a wrong pixel would show
