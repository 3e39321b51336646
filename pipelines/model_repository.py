"""The Triton model repository: where versions are added and one of them is current.

    <repository>/
        asl_classifier/  config.pbtxt   3/model.onnx, classes.txt, golden.npz
        asl_decode/      config.pbtxt   3/model.py, preprocessing.py, preprocessing.json
        asl/             config.pbtxt   3/deployment.json
        current.json                    a copy of the current version's deployment.json

A version is complete by itself and is never changed once it is there. The configs name
the one version that is served (labels included), and can be written anew from any
version: that alone is what deploying, going back and repairing need.
"""

import hashlib
import json
import os
import shutil
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from data_prep import preprocessing
from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines import model_config, preflight
from pipelines.model_config import CLASSIFIER, DECODE, ENSEMBLE

DEPLOYMENT_FILE = "deployment.json"
CURRENT_FILE = "current.json"
DECODE_SOURCE = ROOT / "triton" / "server" / "decode" / "model.py"


def render(
    artifacts: Path,
    repository: Path,
    metadata: dict[str, str],
    device: str = "cpu",
    instances: int | None = None,
) -> int:
    """Check a trained model, add it as the next version and make it the current one.

    A server that runs is not touched; `model_control.load` tells it.

    Args:
        artifacts: Folder with ``model.onnx``, ``classes.txt``, ``preprocessing.json``
            and ``golden.npz``.
        repository: Is created if missing.
        metadata: Where the model comes from (task id, dataset id, accuracy, ...);
            becomes part of the configs and of ``deployment.json``.
        device: "cpu" or "gpu", of the classifier.
        instances: How many images are worked on at once; default one a core.

    Returns:
        The version number, one above the highest so far.

    Raises:
        InputError: The files do not fit each other or the target; nothing has changed.
    """
    artifacts, repository = Path(artifacts), Path(repository)
    preflight.check(artifacts)
    version = max(versions(repository), default=0) + 1
    record = {
        "version": version,
        "deployed": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": device,
        "instances": instances or os.cpu_count(),
        "metadata": {
            **metadata,
            "model_sha256": sha256(artifacts / preflight.MODEL_FILE),
            "preprocessing_sha256": sha256(artifacts / preprocessing.FILE_NAME),
        },
    }
    add_version(artifacts, repository, record)
    activate(repository, version)
    return version


def add_version(artifacts: Path, repository: Path, record: dict) -> None:
    """Copy the files of one version into place; the configs stay as they are."""
    files = {
        DECODE: [
            DECODE_SOURCE,
            Path(preprocessing.__file__),
            artifacts / preprocessing.FILE_NAME,
        ],
        CLASSIFIER: [
            artifacts / preflight.MODEL_FILE,
            artifacts / model_config.LABELS_FILE,
            artifacts / preflight.GOLDEN_FILE,
        ],
        ENSEMBLE: [],
    }
    # The ensemble's folder comes last: a version exists once it does.
    for model, sources in files.items():
        folder = repository / model
        folder.mkdir(parents=True, exist_ok=True)
        # Inside the model's folder, hence on its file system, Triton ignores what is
        # not a number.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as temporary:
            staged = Path(temporary) / str(record["version"])
            staged.mkdir()
            for source in sources:
                shutil.copyfile(source, staged / source.name)
            if model == ENSEMBLE:
                write_json(staged / DEPLOYMENT_FILE, record)
            os.replace(staged, folder / staged.name)


def activate(repository: Path, version: int) -> None:
    """Write the three configs for a version that is there, and note it as current."""
    record = deployment(repository, version)
    configs = model_config.build(
        preflight.check_graph(
            repository / CLASSIFIER / str(version) / preflight.MODEL_FILE
        ),
        version,
        record["metadata"],
        record["device"],
        record["instances"],
    )
    for model, config in configs.items():
        write_text(repository / model / "config.pbtxt", model_config.to_text(config))
    write_json(repository / CURRENT_FILE, record)


def versions(repository: Path) -> list[int]:
    """List the version numbers in use, complete or not, in ascending order."""
    return sorted(
        {
            int(folder.name)
            for model in (DECODE, CLASSIFIER, ENSEMBLE)
            for folder in (Path(repository) / model).glob("[0-9]*")
            if folder.name.isdecimal()
        }
    )


def deployment(repository: Path, version: int) -> dict:
    """Read the record of a version: when, how and with which metadata it was added.

    Raises:
        InputError: There is no such version.
    """
    path = Path(repository) / ENSEMBLE / str(version) / DEPLOYMENT_FILE
    if not path.is_file():
        known = ", ".join(map(str, versions(repository))) or "none"
        raise InputError(f"{repository}: no version {version}; it has: {known}")
    return json.loads(path.read_text(encoding="utf-8"))


def current(repository: Path) -> dict:
    """Read the record of the version that is being served.

    Raises:
        InputError: Nothing has been deployed there.
    """
    path = Path(repository) / CURRENT_FILE
    if not path.is_file():
        raise InputError(
            f"{repository}: no model has been deployed there; train one, then run "
            "python -m pipelines.deploy"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: dict) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text, never a part."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
