"""Graphs that answer more than probabilities: landmarks of a hand, and the like."""

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as triton
from matrix_model import expect
from tiny_model import FURTHER, make_artifacts

from data_prep.preprocessing import Preprocessing
from pipelines.repository.model_config import Settings
from pipelines.serving import deployment
from pipelines.serving.client import TritonClient

pytestmark = pytest.mark.slow
NAMES = ["probabilities", *FURTHER]


@pytest.mark.parametrize("shape", ["fused", "ensemble"])
def test_clients_get_what_they_ask_for_and_the_probabilities_first(
    shape, server, redeploy, photographs, tmp_path
):
    artifacts = make_artifacts(tmp_path / "further", seed=2, further=FURTHER)
    files = [path.read_bytes() for path in photographs.values()]
    record = Preprocessing.load(artifacts / "preprocessing.json")
    pixels = np.stack([record.apply(data) for data in files])
    session = onnxruntime.InferenceSession(artifacts / "model.onnx")
    expected = dict(zip(NAMES, session.run(NAMES, {"image": pixels})))

    settings = Settings(instances=1, shape=shape)
    urls = {"grpc": server.grpc_url, "http": server.http_url}
    deployment.deploy(artifacts, server.repository, {}, settings, urls)

    encoded = triton.InferInput("image", [len(files), 1], "BYTES")
    encoded.set_data_from_numpy(np.array(files, object).reshape(-1, 1))
    image = triton.InferInput("image", list(pixels.shape), "UINT8")
    image.set_data_from_numpy(pixels)
    with triton.InferenceServerClient(server.grpc_url) as client:
        for model, tensor in {"asl": encoded, "asl_classifier": image}.items():
            metadata = client.get_model_metadata(model)
            assert [output.name for output in metadata.outputs] == NAMES
            for wanted in (NAMES, ["hand", "landmarks"], ["probabilities"]):
                outputs = [triton.InferRequestedOutput(name) for name in wanted]
                answer = client.infer(model, [tensor], outputs=outputs)
                found = [output.name for output in answer.get_response().outputs]
                assert sorted(found) == sorted(wanted)
                for name in wanted:
                    values = answer.as_numpy(name)
                    np.testing.assert_allclose(values, expected[name], atol=1e-4)
    # those who know of nothing but one output notice nothing
    for protocol, url in urls.items():
        with TritonClient(url, protocol) as ask:
            np.testing.assert_allclose(
                ask(files), expect(artifacts, files), rtol=0, atol=1e-4
            )
            assert ask.labels(files[0]) == ["A", "B", "C", "del", "nothing"]
