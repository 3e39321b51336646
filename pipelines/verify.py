"""Score raw test photographs through the running server, against torch's answers.

    python -m pipelines.verify [--name NAME] [--raw DIR] [--url HOST:PORT]

Sends photographs of the test split, encoded as they lie on disk, over gRPC and HTTP and
in requests of several sizes, and compares each answer with the probabilities torch gave
for the same photograph after training. Without an address it asks the server that
scripts/serve runs on the model repository, or else starts one. Fails if server and
torch disagree about any photograph's letter, or clearly about a probability.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep import packed
from data_prep.answer import add_json, answering
from data_prep.command_line import add_raw, address, command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.figures import beside
from data_prep.model_name import DEFAULT, add_name
from data_prep.paths import data_home
from data_prep.sources import Listing, find_images
from pipelines.repository import versions
from pipelines.serving import running_server
from pipelines.serving.client import TritonClient
from pipelines.serving.triton_server import TritonServer
from pipelines.serving.verification import (
    short_summary,
    summary,
    table,
    verify,
    within_limits,
)
from pipelines.text_table import text_table
from pipelines.tracking import dataset_copies
from pipelines.tracking.connection import ensure_clearml
from pipelines.tracking.task import RESULT, set_output, step_task
from pipelines.tracking.trainings import artifact, find_training, raw_dataset
from pipelines.tracking.uploads import upload_artifact
from training.reports import TEST_PROBABILITIES


def held_out(
    listing: Listing, dataset: Path, answered: int, limit: int = 0
) -> tuple[np.ndarray, list]:
    """Find the raw files of a prepared dataset's test split.

    Args:
        listing: The raw images that the dataset was prepared from.
        dataset: Prepared folder.
        answered: For how many of the split torch's answers are known, from its start.
        limit: At most so many, spread evenly; 0: all.

    Returns:
        Row numbers in the test arrays, int64 ``(n,)``, and the images in that order.

    Raises:
        InputError: An image is missing.
    """
    test = [row for row in packed.read_manifest(dataset) if row.split == "test"]
    test = test[:answered]
    picks = np.arange(len(test))
    if limit and limit < len(test):
        picks = np.linspace(0, len(test) - 1, limit).astype(int)
    found = {image.path: image for image in listing.images}
    for i in picks:
        if test[i].path not in found:
            raise InputError(
                f"{test[i].path} of the test split is not among the raw images given; "
                "name those that the dataset was prepared from"
            )
    return picks, [found[test[i].path] for i in picks]


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m pipelines.verify",
        description="Score raw test photographs through the running server.",
        example="--raw photographs",
    )
    # Input
    add_raw(
        parser,
        folders="what the dataset was prepared from",
        dataset="the raw ClearML Dataset instead of --raw (default: the one that the "
        "dataset was prepared from)",
    )
    parser.add_argument(
        "--task",
        default="",
        help="training task that must be served: last, best or an id (default: the "
        "one whose model is served)",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=1000,
        help="photographs at most, spread evenly (default %(default)s; 0: the whole "
        "split)",
    )
    # Server
    add_name(parser, "that is asked")
    parser.add_argument(
        "--url",
        type=address,
        default="",
        help="host:port (gRPC) of the server (none: the one that scripts/serve runs on "
        "the repository, or else one is started)",
    )
    parser.add_argument(
        "--http-url", type=address, default="", help="host:port (HTTP) of the same"
    )
    parser.add_argument(
        "--repository",
        default="",
        help="whose server is asked, or started, where no address is given "
        f"(default {data_home() / 'models'})",
    )
    add_json(parser, "verification.json")
    return parser


def check(args: argparse.Namespace) -> None:
    """Check the options.

    Raises:
        InputError: One is out of range.
    """
    if args.limit < 0:
        raise InputError(f"--limit is {args.limit}; it must be 0 or more")


def look(args: argparse.Namespace) -> None:
    """Check that there is a model to ask, and photographs to ask about.

    Raises:
        InputError: There is no such folder or training, or no model is served.
    """
    if args.raw:
        find_images(args.raw)
    if not (args.url or args.http_url):
        versions.current(place(args), args.name)
    elif not args.task:
        served_task({"grpc": args.url, "http": args.http_url}, args.name)
    ensure_clearml()
    if args.task:
        find_training(args.task, args.name)


@exit_2_on_input_error
def main() -> None:
    with (
        answering(arguments()) as answer,
        step_task("verify", arguments(), "testing", check, look) as (task, args),
    ):
        with server(args) as urls:
            which = args.task or served_task(urls, args.name)
            training = find_training(which, args.name)
            listing = raw_photographs(training, args.raw, args.dataset_id)
            result, _ = verify_training(training, listing, urls, args.limit, args.name)
        answer.update(result)
        report(task, result)
        disagreeing = result["images"] - result["agreeing"]
        difference, allowed = result["max_difference"], result["allowed_difference"]
        if disagreeing or difference > allowed:
            raise InputError(
                f"server and torch disagree on {disagreeing} of {result['images']} "
                f"photographs, and by up to {beside(difference, allowed, 1, 'e')} in a "
                f"probability (allowed is {allowed:.0e}); the served model is not what "
                f"task {training.id} evaluated: deploy it again, and if that does not "
                "help report it"
            )


def place(args: argparse.Namespace) -> Path:
    return Path(args.repository or data_home() / "models")


@contextmanager
def server(args: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Give the addresses by protocol; where none is named, of the server that runs on
    the repository, which is started if need be."""
    if args.url or args.http_url:
        yield {"grpc": args.url, "http": args.http_url}
        return
    repository = place(args)
    if running := running_server.find(repository):
        print(f"asking the server at {running['grpc']}, which runs on {repository}")
        yield running
        return
    with TritonServer(repository) as started:
        yield {"grpc": started.grpc_url, "http": started.http_url}


def served_task(urls: dict[str, str], name: str) -> str:
    """Ask the server from which training task its model comes.

    Raises:
        InputError: The model does not say.
    """
    protocol = "grpc" if urls["grpc"] else "http"
    with TritonClient(urls[protocol], protocol, name) as ask:
        task_id = ask.metadata().get("task_id")
    if not task_id:
        raise InputError(
            f"the model {name} at {urls[protocol]} does not say from which training "
            "task it comes; name the task with --task"
        )
    return task_id


def raw_photographs(training, raw: list[str] | None, dataset_id: str) -> Listing:
    """List the photographs named, or those that a training's dataset was made from.

    Raises:
        InputError: Both are named, or nobody knows which photographs those were.
    """
    if not raw and not dataset_id:
        dataset_id = raw_dataset(prepared_dataset(training))
        if not dataset_id:
            raise InputError(
                f"the dataset of task {training.id} was not prepared from a ClearML "
                "Dataset; name the raw photographs with --raw or --raw-dataset-id"
            )
    return dataset_copies.find_raw(raw, dataset_id)


def prepared_dataset(training) -> str:
    """The id of the prepared Dataset that a training has used.

    Raises:
        InputError: It does not say.
    """
    dataset_id = training.get_parameter("Outputs/dataset_id")
    if not dataset_id:
        raise InputError(f"task {training.id} names no dataset; it is no training")
    return dataset_id


def verify_training(
    training,
    listing: Listing,
    urls: dict[str, str],
    limit: int = 0,
    name: str = DEFAULT,
) -> tuple[dict, list]:
    """Send a training task's raw test photographs through a server.

    Args:
        training: A completed training task.
        listing: The raw images that its dataset was prepared from.
        urls: ``host:port`` by protocol; "" for one that is not to be used.
        limit: Photographs at most; 0: as many as torch has answered.
        name: Of the model that is asked.

    Returns:
        As `verify`, with the name, the version and the training of the model; and the
        photographs.

    Raises:
        InputError: A photograph is missing, or the server serves another model.
    """
    expected = np.load(artifact(training, TEST_PROBABILITIES))
    dataset = dataset_copies.local_copy(prepared_dataset(training))
    picks, images = held_out(listing, dataset, len(expected), limit)
    _, labels = packed.load_split(dataset, "test")
    with ExitStack() as stack:
        askers = {
            protocol: stack.enter_context(TritonClient(url, protocol, name))
            for protocol, url in urls.items()
            if url
        }
        for ask in askers.values():
            check_model(ask, training.id)
            usable = within_limits((image.read() for image in images), {})
            check_labels(ask.labels(next(usable, b"")), packed.read_classes(dataset))
        served = ask.metadata()
        photographs = (image.read() for image in images)
        precision = served.get("precision", "fp32")
        result = verify(photographs, labels[picks], expected[picks], askers, precision)
    version = served.get("version", "")
    result["model"] = {"name": name, "version": version, "training": training.id}
    return result, images


def check_model(ask: TritonClient, training_id: str) -> None:
    """Check that the server's model comes from a training, if it says from which.

    Raises:
        InputError: From another one.
    """
    served = ask.metadata().get("task_id", training_id)
    if served != training_id:
        raise InputError(
            f"the server at {ask.url} serves the model of task {served}, not of "
            f"{training_id}; run python -m pipelines.deploy --task {training_id}"
        )


def check_labels(served: list[str], expected: list[str]) -> None:
    """Compare the server's names of the outputs with the dataset's.

    Raises:
        InputError: They differ.
    """
    if served != expected:
        raise InputError(
            f"the server has {len(served)} labels ({', '.join(served[:4])}, ...), the "
            f"dataset {len(expected)} ({', '.join(expected[:4])}, ...); deploy the "
            "model of this dataset first"
        )


def report(task, result: dict) -> None:
    """Print the outcome, put it on the ClearML task and into its folder."""
    rows, model = table(result), result["model"]
    print(
        f"model {model['name']}, version {model['version']}, of training "
        f"{model['training']}"
    )
    print(text_table(rows))
    print(summary(result))
    set_output(task, RESULT, short_summary(result))
    logger = task.get_logger()
    logger.report_table("Verification", "server and torch", 0, table_plot=rows)
    for name in ("accuracy", "agreement", "max_difference"):
        logger.report_single_value(f"served {name}", result[name])
        set_output(task, name, result[name])
    folder = data_home() / "runs" / task.id
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "verification.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    upload_artifact(task, "verification", path)
    print(f"report: {path}")


if __name__ == "__main__":
    main()
