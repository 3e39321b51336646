"""A trained model as a folder of results holds it: what is needed to ask it."""

import json
from dataclasses import dataclass
from pathlib import Path

from data_prep import packed, preprocessing
from data_prep.errors import InputError
from data_prep.model_name import DEFAULT
from data_prep.paths import data_home
from data_prep.preprocessing import Preprocessing
from training.reports import EVALUATION, GRAPH_FILE


@dataclass(frozen=True)
class TrainedModel:
    """One trained model.

    Attributes:
        name: Of the model.
        training: Id of the task that made it; "" where nobody knows.
        graph: Its ONNX file.
        classes: Names of the graph's outputs, in their order.
        record: How to make its input.
        run: Folder of the training's results; it need not be on this machine.
        version: Under which it is served; None if it is asked for as a training.
    """

    name: str
    training: str
    graph: Path
    classes: list[str]
    record: Preprocessing
    run: Path
    version: int | None = None

    def describe(self) -> str:
        """Say in a line which model this is."""
        if self.version is None:
            return f"{self.name}, training {self.training} ({self.run})"
        of = f", of training {self.training}" if self.training else ""
        return f"{self.name}, version {self.version}, which is served{of}"


def of_run(run: Path) -> TrainedModel:
    """Open the results of a training.

    Raises:
        InputError: They are not there, or not complete.
    """
    import onnx

    try:
        record = Preprocessing.load(run / preprocessing.FILE_NAME)
        graph = onnx.load(run / GRAPH_FILE, load_external_data=False)
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); --run must name the "
            "results of a training"
        ) from None
    except Exception as error:  # whatever a damaged record or graph raises
        raise InputError(
            f"the model in {run} is damaged ({' '.join(str(error).split())[:100]}); "
            "--run must name the complete results of a training"
        ) from None
    kept = {entry.key: entry.value for entry in graph.metadata_props}
    return TrainedModel(
        name=kept.get("name") or DEFAULT,
        training=kept.get("task_id") or run.resolve().name,
        graph=run / GRAPH_FILE,
        classes=packed.read_classes(run),
        record=record,
        run=run,
    )


def newest_run(name: str = DEFAULT) -> Path:
    """Find the newest complete training of a model on this machine.

    Raises:
        InputError: There is none.
    """
    runs = data_home() / "runs"
    models = sorted(
        runs.glob(f"*/{GRAPH_FILE}"), key=lambda path: -path.stat().st_mtime
    )
    for run in (path.parent for path in models):
        try:
            if json.loads((run / EVALUATION).read_text()).get("name", DEFAULT) == name:
                return run
        except (OSError, ValueError):  # it goes on still, or was interrupted
            continue
    option = "" if name == DEFAULT else f" --name {name}"
    raise InputError(
        f"no trained model {name} in {runs}; train one with python -m training.train"
        f"{option}, or name its folder with --run"
    )
