"""config.pbtxt as it is rendered, compared with files that were read and agreed to.

After a change that is meant:

    PYTHONPATH=. python tests/serving/test_rendered_configs.py
"""

from pathlib import Path

import pytest

from pipelines.repository import model_config
from pipelines.repository.model_config import GraphShapes, Settings

FOLDER = Path(__file__).parent / "rendered"
SHAPES = GraphShapes(
    "image", "TYPE_UINT8", (96, 96, 3), "probabilities", "TYPE_FP32", (29,)
)
METADATA = {"task_id": "abc", "model_sha256": "0123456789abcdef" * 4}
WAYS = {
    "cpu": Settings(instances=2),
    "cpu_ensemble_cached": Settings(instances=2, shape="ensemble", cache=True),
    "gpu": Settings("gpu", instances=2),
    "gpu_tensorrt_fp16": Settings(
        "gpu", instances=2, accelerator="tensorrt", precision="fp16"
    ),
    "cpu_openvino": Settings(instances=2, shape="ensemble", accelerator="openvino"),
}


def render(settings: Settings) -> str:
    """All configs of a version in one text, each under its file's name."""
    parts = model_config.parts(SHAPES, 7, METADATA, settings)
    configs = [*parts.values(), *model_config.served(parts, 7).values()]
    return "\n".join(
        f"# {config.name}/config.pbtxt\n{model_config.to_text(config)}"
        for config in sorted(configs, key=lambda config: config.name)
    )


@pytest.mark.parametrize("way", WAYS)
def test_configs_are_rendered_as_agreed(way):
    assert render(WAYS[way]) == (FOLDER / f"{way}.pbtxt").read_text()


@pytest.mark.parametrize("way", WAYS)
def test_the_agreed_texts_are_configs_of_what_they_say(way):
    for text in (FOLDER / f"{way}.pbtxt").read_text().split("# ")[1:]:
        name, _, text = text.partition("/config.pbtxt\n")
        assert model_config.from_text(text).name == name


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for way, settings in WAYS.items():
        (FOLDER / f"{way}.pbtxt").write_text(render(settings))
