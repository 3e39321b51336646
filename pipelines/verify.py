"""Does the server answer what training saw? Raw test photographs through the server.

    python -m pipelines.verify --raw DIR [--task last|ID] [--url HOST:PORT]

Sends the raw files of the test split, encoded as they lie on disk, and compares each
answer with the probabilities torch gave for the same photograph after training.
Prints how many are right and whether server and torch agree; fails if they name a
different letter for any photograph.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep import packed, registry
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.sources import Listing
from pipelines.asker import LIBRARIES, Asker
from pipelines.deploy import find_training
from pipelines.task_edge import step_task

BATCH_SIZE = 16


def verify(
    photographs: Iterable[bytes],
    labels: np.ndarray,
    expected: np.ndarray,
    ask: Callable[[list[bytes]], np.ndarray],
) -> dict:
    """Compare the server's answers with torch's and with the truth.

    Args:
        photographs: Encoded raw test images, in the order of the other two.
        labels: ``(N,)`` int64, the truth.
        expected: ``(N, classes)`` float32, torch's probabilities.
        ask: Sends up to BATCH_SIZE images, returns their ``(n, classes)`` answers.

    Returns:
        images; correct and accuracy (server against truth); agreeing and agreement
        (same best class as torch); max_difference (of a probability).
    """
    answers, batch = [], []
    with tqdm(total=len(labels), desc="verify", unit="img", disable=None) as bar:
        for photograph in photographs:
            batch.append(photograph)
            if len(batch) == BATCH_SIZE or len(answers) + len(batch) == len(labels):
                answers.extend(ask(batch))
                bar.update(len(batch))
                batch = []
    answers = np.array(answers)
    best = answers.argmax(1)
    correct, agreeing = best == labels, best == expected.argmax(1)
    return {
        "images": len(labels),
        "correct": int(correct.sum()),
        "accuracy": float(correct.mean()),
        "agreeing": int(agreeing.sum()),
        "agreement": float(agreeing.mean()),
        "max_difference": float(np.abs(answers - expected).max()),
    }


def summary(result: dict) -> str:
    """The outcome in two lines."""
    return (
        f"{result['correct']} of {result['images']} held-out photographs right "
        f"through the running server ({100 * result['accuracy']:.1f} %)\n"
        f"server and torch agree on {result['agreeing']} of {result['images']}; "
        f"largest difference of a probability {result['max_difference']:.1e}"
    )


def held_out(listing: Listing, dataset: Path, limit: int = 0):
    """Find the raw files of a prepared dataset's test split.

    Args:
        listing: The raw images that the dataset was prepared from.
        dataset: Prepared folder.
        limit: At most so many, spread evenly; 0: all.

    Returns:
        Row numbers in the test arrays, int64 ``(n,)``, and the images in that order.

    Raises:
        InputError: An image is missing.
    """
    rows = [row for row in packed.read_manifest(dataset) if row.split == "test"]
    picks = np.arange(len(rows))
    if limit and limit < len(rows):
        picks = np.linspace(0, len(rows) - 1, limit).astype(int)
    found = {image.path: image for image in listing.images}
    for i in picks:
        if rows[i].path not in found:
            raise InputError(
                f"{rows[i].path} of the test split is not among the raw images given; "
                "name those that the dataset was prepared from"
            )
    return picks, [found[rows[i].path] for i in picks]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Score raw test photographs through the running server."
    )
    # Input
    parser.add_argument(
        "--raw", nargs="+", metavar="DIR", help="what the dataset was prepared from"
    )
    parser.add_argument(
        "--dataset-id", metavar="ID", help="the raw ClearML Dataset instead of --raw"
    )
    parser.add_argument(
        "--task",
        default="last",
        help="training task whose answers are compared: last, best or an id",
    )
    parser.add_argument(
        "--limit", type=int, default=0, help="photographs at most (0: the whole split)"
    )
    # Server
    parser.add_argument("--url", default="localhost:8001", help="host:port")
    parser.add_argument("--protocol", choices=sorted(LIBRARIES), default="grpc")
    return parser


@exit_2_on_input_error
def main() -> None:
    with step_task("verify", arguments(), "testing") as (task, args):
        training = find_training(args.task)
        listing = registry.find_raw(args.raw, args.dataset_id)
        result, _ = verify_training(
            training, listing, args.url, args.protocol, args.limit
        )
        print(summary(result))
        for name, value in result.items():
            task.get_logger().report_single_value(f"served {name}", value)
        task.upload_artifact("verification", result)
        disagreeing = result["images"] - result["agreeing"]
        if disagreeing:
            raise InputError(
                f"server and torch disagree on {disagreeing} photographs; is the "
                f"model at {args.url} that of task {training.id}? If not, run "
                "python -m pipelines.deploy"
            )


def verify_training(
    training, listing: Listing, url: str, protocol: str = "grpc", limit: int = 0
) -> tuple[dict, list]:
    """Send a training task's raw test photographs through a server.

    Args:
        training: A completed training task.
        listing: The raw images that its dataset was prepared from.
        url: ``host:port`` of ``protocol``.
        limit: Photographs at most; 0: the whole split.

    Returns:
        As `verify`, and the photographs.

    Raises:
        InputError: A photograph is missing, or the server serves another model.
    """
    dataset_id = training.get_parameter("Outputs/dataset_id")
    dataset = registry.local_copy(dataset_id, registry.PREPARED)
    picks, images = held_out(listing, dataset, limit)
    _, labels = packed.load_split(dataset, "test")
    expected = np.load(training.artifacts["test_probabilities.npy"].get_local_copy())
    with Asker(url, protocol) as ask:
        check_labels(ask.labels(images[0].read()), packed.read_classes(dataset))
        photographs = (image.read() for image in images)
        return verify(photographs, labels[picks], expected[picks], ask), images


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


if __name__ == "__main__":
    main()
