"""Put a trained model into the Triton model repository, as the ClearML task ``deploy``.

    python -m pipelines.deploy --task last|best|ID [--repository DIR] [--url HOST:PORT]

Everything the repository says of the model (names, shapes, labels, image size) is read
from the training task's artifacts. With --url the Triton server there, started on the
same repository, is told to load the new version (gRPC, explicit model control).
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.paths import data_home
from pipelines import model_control, model_repository
from pipelines.task_edge import PROJECT, set_output, step_task

# What a deployment is made from: artifacts of a training task.
ARTIFACTS = ("model.onnx", "classes.txt", "preprocessing.json", "golden.npz")
BEST = ("Summary", "test accuracy")  # ClearML's title of single values, and the value


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Put a trained model into the Triton model repository."
    )
    parser.add_argument(
        "--task",
        default="last",
        help="training task: last (completed), best (by test accuracy) or an id",
    )
    parser.add_argument(
        "--repository",
        default="",
        help=f"Triton model repository (default {data_home() / 'models'})",
    )
    parser.add_argument(
        "--url", default="", help="host:port (gRPC) of a server to load it (none: none)"
    )
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    return parser


@exit_2_on_input_error
def main() -> None:
    with step_task("deploy", arguments(), "inference") as (task, args):
        repository = Path(args.repository or data_home() / "models")
        training = find_training(args.task)
        with tempfile.TemporaryDirectory(prefix="asl-deploy-") as folder:
            artifacts = fetch(training, Path(folder))
            version = model_repository.render(
                artifacts, repository, metadata(training), args.device
            )
        set_output(task, "version", version)
        set_output(task, "training_task", training.id)
        print(f"version {version} of {repository}: {training.name} {training.id}")
        if args.url:
            model_control.load(args.url, repository)
            print(f"the server at {args.url} answers with version {version}")


def find_training(which: str):
    """Find a completed training task of the project.

    Args:
        which: "last" by time of completion, "best" by test accuracy, or an id.

    Raises:
        InputError: There is none, or it did not complete.
    """
    from clearml import Task

    if which not in ("last", "best"):
        try:
            task = Task.get_task(task_id=which)
        except ValueError:
            task = None
        if task is None:
            raise InputError(
                f"there is no task '{which}' in ClearML; give last, best or an id"
            )
        if task.get_status() not in ("completed", "published"):
            raise InputError(
                f"task {which} is {task.get_status()}; only a completed training can "
                "be deployed"
            )
        return task
    order = "-completed"
    if which == "best":
        title, series = (hashlib.md5(name.encode()).hexdigest() for name in BEST)
        order = f"-last_metrics.{title}.{series}.max_value"
    tasks = Task.get_tasks(
        project_name=PROJECT,
        # a clone or an agent's run may carry another name; its type does not change
        task_filter={
            "type": ["training"],
            "status": ["completed", "published"],
            "order_by": [order],
            "page": 0,
            "page_size": 1,
        },
    )
    if not tasks:
        raise InputError(
            f"no completed training task in project {PROJECT}; run python -m "
            "training.train first"
        )
    return tasks[0]


def fetch(training, folder: Path) -> Path:
    """Copy a training task's artifacts into ``folder``.

    Raises:
        InputError: One is missing, or lies on another machine's disk.
    """
    for name in ARTIFACTS:
        artifact = training.artifacts.get(name)
        if artifact is None:
            raise InputError(
                f"task {training.id} has no artifact {name}; it is not a training of "
                "this project, or did not finish"
            )
        local = artifact.get_local_copy(raise_on_error=False)
        if local is None or not Path(local).is_file():
            remedy = (
                "train again with an output_uri that every machine can reach"
                if artifact.url.startswith("file://")
                else "is the file server running?"
            )
            raise InputError(f"cannot fetch {name} from {artifact.url}; {remedy}")
        shutil.copyfile(local, folder / name)
    return folder


def metadata(training) -> dict[str, str]:
    """What the repository keeps of where a model comes from."""
    values = training.get_parameters()
    known = {
        "task_id": training.id,
        "task_name": training.name,
        "dataset_id": values.get("Outputs/dataset_id"),
        "model_id": values.get("Outputs/model_id"),
        "accuracy": values.get("Outputs/accuracy"),
        "model": values.get("Args/model"),
    }
    return {key: str(value) for key, value in known.items() if value is not None}


if __name__ == "__main__":
    main()
