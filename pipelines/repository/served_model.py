"""The version of a model that a repository serves, opened without any server."""

from pathlib import Path

from data_prep import packed
from data_prep.errors import InputError
from data_prep.paths import data_home
from data_prep.preprocessing import FILE_NAME, Preprocessing
from pipelines.repository import versions
from pipelines.repository.layout import CLASSIFIER, deployed_names
from pipelines.repository.model_config import LABELS_FILE, SERVED_NUMBER
from training.reports import GRAPH_FILE
from training.trained_model import TrainedModel


def served_model(name: str, repository: Path | None = None) -> TrainedModel | None:
    """Find the files of the version that is served.

    Args:
        name: Of the model.
        repository: The model repository; None for that of this machine.

    Returns:
        None if nothing of that name is deployed there.

    Raises:
        InputError: Files of it are missing.
    """
    repository = Path(repository or data_home() / "models")
    if name not in deployed_names(repository):
        return None
    record = versions.current(repository, name)
    parts = versions.folders_of(repository, record)
    training = record["metadata"].get("task_id", "")
    try:
        classifier = parts.pop(CLASSIFIER)
        (of_files,) = parts.values()  # fused or decode
        return TrainedModel(
            name=name,
            training=training,
            graph=classifier / str(SERVED_NUMBER) / GRAPH_FILE,
            classes=packed.read_names(classifier / LABELS_FILE),
            record=Preprocessing.load(of_files / str(SERVED_NUMBER) / FILE_NAME),
            run=data_home() / "runs" / training if training else classifier,
            version=record["version"],
        )
    except (KeyError, ValueError, OSError):
        raise InputError(
            f"{repository}: files of version {record['version']} of {name} are "
            f"missing; run python -m pipelines.deploy --name {name}"
        ) from None
