"""A model that deploy would refuse is refused before it is trained."""

import pytest
from tiny_model import make_artifacts

from data_prep.draw import draw_dataset
from data_prep.errors import InputError
from pipelines.orchestration import class_check, steps
from pipelines.repository import versions
from pipelines.repository.model_config import Settings


@pytest.fixture
def served(tmp_path):
    """The options of steps, and a repository in which C, W and Y are served."""
    artifacts = make_artifacts(tmp_path / "artifacts", labels=("C", "W", "Y"))
    versions.render(artifacts, tmp_path / "models", {}, Settings(instances=1))
    settings = {step: {} for step in steps.STEPS}
    return settings | {"deploy": {"repository": str(tmp_path / "models")}}


def test_other_classes_than_the_served_ones_are_refused_at_once(served, tmp_path):
    raw = [draw_dataset(tmp_path / "raw", 1, classes=["A", "C", "W", "Y"], workers=1)]
    with pytest.raises(InputError) as caught:
        class_check.check_raw(raw, served)
    said = str(caught.value)
    assert "version 1 of asl, which is served, has 3 classes (C, W, Y)" in said
    assert "the new model 4 (A, C, W, Y)" in said
    assert "--set deploy.allow-new-classes=true" in said and "\n" not in said

    class_check.check_raw(raw, served | {"prepare": {"classes": "C,W,Y"}})
    new = served["deploy"] | {"allow_new_classes": "true"}
    class_check.check_raw(raw, served | {"deploy": new})
    other = served["deploy"] | {"name": "letters"}
    class_check.check_raw(raw, served | {"deploy": other})
