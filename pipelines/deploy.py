"""Put a trained model into the Triton model repository, as the ClearML task ``deploy``.

    python -m pipelines.deploy --task last|best|ID [--name NAME] [--repository DIR]
    python -m pipelines.deploy --list
    python -m pipelines.deploy --rollback

Everything the repository says about the model (names, shapes, labels, image size) is
read from the training task's artifacts. With --url the Triton server there, started on
the same repository in explicit model control, loads the version, must answer the golden
images rightly, and only then passes clients' requests on to it; if it does not, the
previous version goes on serving. Without --url the same is done with the server that
scripts/serve runs on the repository. One that polls it finds the version by itself.

Models of several names are served side by side; each has versions of its own. A model
that names other classes than the version that is served is refused.

--rollback skips versions from which somebody has rolled back before.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.answer import add_json, answering
from data_prep.command_line import address, command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.model_name import add_name
from data_prep.paths import data_home
from pipelines.repository import versions
from pipelines.repository.expectation import ENGLISH, TEST, expectation
from pipelines.repository.model_config import ACCELERATORS, PRECISIONS, Settings
from pipelines.serving import deployment, running_server
from pipelines.tracking.connection import check_connection, ensure_clearml
from pipelines.tracking.task import set_output, step_task, tell_result
from pipelines.tracking.trainings import artifact, fetch, find_training
from training.golden import RAW_GOLDEN_FILE
from training.reports import DEPLOYABLES, EVALUATION


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m pipelines.deploy",
        description="Put a trained model into the Triton model repository.",
        example="--task best",
    )
    # What to do
    add_name(parser, "that is deployed, gone back with or listed")
    parser.add_argument(
        "--task",
        default="last",
        help="training task: last (completed), best (promoted, or else of the highest "
        "validation accuracy) or an id",
    )
    parser.add_argument(
        "--rollback",
        action="store_true",
        help="go back to the previous version instead",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the versions, do nothing else"
    )
    parser.add_argument(
        "--allow-new-classes",
        action="store_true",
        help="also replace a version that has other classes",
    )
    # Where to
    parser.add_argument(
        "--repository",
        default="",
        help=f"Triton model repository (default {data_home() / 'models'})",
    )
    parser.add_argument(
        "--url",
        type=address,
        default="",
        help="host:port (gRPC) of a server to load it (none: the one that "
        "scripts/serve runs on the repository, if it runs)",
    )
    parser.add_argument(
        "--http-url",
        type=address,
        default="",
        help="host:port (HTTP) of the same, to check that too",
    )
    parser.add_argument(
        "--keep",
        type=int,
        default=deployment.KEEP,
        help="versions that stay besides the current one (default %(default)s)",
    )
    parser.add_argument(
        "--mix",
        default=TEST,
        help="of the classes that will be asked about, which alerts compare with what "
        "is answered: test (as in the test split), english (letters as in English "
        "texts), or a JSON file of weights by class (default %(default)s)",
    )
    # How to run it
    parser.add_argument(
        "--device",
        choices=("cpu", "gpu"),
        default="cpu",
        help="what the server computes with",
    )
    parser.add_argument(
        "--instances",
        type=int,
        default=0,
        help="images at once (0: one a core here, at most 8)",
    )
    parser.add_argument(
        "--shape",
        choices=("auto", "fused", "ensemble"),
        default="auto",
        help="one model decodes and infers, or two (auto: one on the CPU)",
    )
    parser.add_argument(
        "--accelerator",
        choices=ACCELERATORS,
        default="none",
        help="of ONNX Runtime, beside its own kernels",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="precision of the engines that TensorRT builds",
    )
    parser.add_argument(
        "--cache",
        action="store_true",
        help="answer identical requests from the response cache, if the server has one",
    )
    parser.add_argument(
        "--one-by-one",
        action="store_true",
        help="never hand photographs of different requests to a process together: "
        "slower, but no request can have another one refused",
    )
    add_json(parser, "the version and where it comes from; with --list all versions")
    return parser


def check(args: argparse.Namespace) -> None:
    """Check the options.

    Raises:
        InputError: They contradict each other, or one is out of range.
    """
    addresses(args)
    run_settings(args)


def look(args: argparse.Namespace) -> None:
    """Check that there is something to deploy, or to go back from.

    Raises:
        InputError: There is no such training, nothing is deployed there, or there is no
            such file of --mix.
    """
    if args.rollback:
        versions.current(place(args), args.name)
        return
    if args.mix not in (TEST, ENGLISH) and not Path(args.mix).is_file():
        raise InputError(
            f"--mix {args.mix}: there is no such file; give {TEST}, {ENGLISH} or a "
            "JSON file of weights by class"
        )
    if args.url:
        check_connection(
            "the Triton server",
            f"grpc://{args.url}",
            "start it with scripts/serve, or correct --url",
        )
    ensure_clearml()
    find_training(args.task, args.name)


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    if args.list:  # reads files only: no task
        with answering(arguments()) as answer:
            answer["versions"] = deployment.listing(place(args), args.name)
            print(deployment.table(answer["versions"]))
        return
    with (
        answering(arguments()) as answer,
        step_task("deploy", arguments(), "inference", check, look) as (task, args),
    ):
        urls = addresses(args) or running_server.find(place(args))
        if args.rollback:
            record = deployment.roll_back(place(args), urls, args.name)
        else:
            record = from_training(args, urls)
        answer.update(record, repository=str(place(args)), server=urls)
        set_output(task, "version", record["version"])
        training = record["metadata"].get("task_id", "")
        set_output(task, "training_task", training)
        name = record["metadata"].get("task_name", "")
        tell_result(
            task, f"version {record['version']} of {args.name} in {place(args)}"
        )
        print(f"of {name} {training}")
        if urls:
            print(f"the server at {urls['grpc']} answers with it")


def from_training(args: argparse.Namespace, urls: dict[str, str] | None) -> dict:
    """Deploy a training task's model; return the record of the current version."""
    settings = run_settings(args)
    training = find_training(args.task, args.name)
    raw = [RAW_GOLDEN_FILE] if RAW_GOLDEN_FILE in training.artifacts else []
    with tempfile.TemporaryDirectory(prefix="asl-deploy-") as folder:
        return deployment.deploy(
            fetch(training, (*DEPLOYABLES, *raw), Path(folder)),
            place(args),
            metadata(training) | expected(training, args.mix),
            settings,
            urls,
            args.keep,
            name=args.name,
            same_classes=not args.allow_new_classes,
        )


def place(args: argparse.Namespace) -> Path:
    return Path(args.repository or data_home() / "models")


def addresses(args: argparse.Namespace) -> dict[str, str] | None:
    """The server's addresses by protocol.

    Raises:
        InputError: HTTP without gRPC, by which models are loaded.
    """
    if args.http_url and not args.url:
        raise InputError("--http-url needs --url too: models are loaded by gRPC")
    urls = {"grpc": args.url, "http": args.http_url}
    return {protocol: url for protocol, url in urls.items() if url} or None


def run_settings(args: argparse.Namespace) -> Settings:
    """Read how to run the model.

    Raises:
        InputError: The options contradict each other.
    """
    for name in ("keep", "instances"):
        if (value := getattr(args, name)) < 0:
            raise InputError(f"--{name} is {value}; it must be 0 or more")
    try:
        return Settings(
            device=args.device,
            instances=args.instances,
            shape=args.shape,
            accelerator=args.accelerator,
            precision=args.precision,
            cache=args.cache,
            one_by_one=args.one_by_one,
        )
    except ValueError as error:
        raise InputError(str(error)) from None


def expected(training, mix: str) -> dict[str, str]:
    """The answers to expect: alerts compare the served ones with them."""
    if EVALUATION not in training.artifacts:
        return {}  # of an earlier version of this project
    evaluation = json.loads(artifact(training, EVALUATION).read_text(encoding="utf-8"))
    return {"expected": json.dumps(expectation(evaluation, mix))}


def metadata(training) -> dict[str, str]:
    """The origin of a model, as the repository keeps it."""
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
