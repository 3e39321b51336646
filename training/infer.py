"""Ask a trained model about photographs, without any server.

    python -m training.infer --image FILE [FILE ...] [--name NAME] [--json]
    python -m training.infer --csv-row sign_mnist_test.csv:1 --name sign_mnist

Asks the model that is served under the name here; where none is, the newest training of
that name. Prints ``Result: A (confidence: 0.95)``. With --threshold, answers of less
confidence are ``uncertain``; evaluation.json names the threshold of 99 % precision.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep import containers
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.figures import beside
from data_prep.image_file import BrokenImage
from data_prep.model_name import add_name
from data_prep.preprocessing import Preprocessing
from training.reports import EVALUATION
from training.trained_model import TrainedModel, newest_run, of_run

UNCERTAIN = "uncertain"


class Photograph(NamedTuple):
    """One that is asked about.

    Attributes:
        title: File, or table and row.
        data: Encoded.
        label: What it is, if a table says so.
    """

    title: str
    data: bytes
    label: str | None = None


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m training.infer",
        description="Ask a trained model about photographs.",
        example="--image photograph.jpg",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--image", nargs="+", metavar="FILE", help="photographs to ask about"
    )
    what.add_argument(
        "--csv-row",
        metavar="FILE[:N]",
        help="row N of a Sign-MNIST table (label, then the greys of the pixels); the "
        "one below the headings is 1, which is the default",
    )
    add_name(parser, "that is asked: the served version, or else the newest training")
    parser.add_argument(
        "--run", type=Path, metavar="DIR", help="results of a training, instead"
    )
    parser.add_argument(
        "--runtime",
        choices=("onnx", "torch"),
        default="onnx",
        help="what computes: the exported graph, or the network it was exported from",
    )
    parser.add_argument(
        "--hand-networks",
        default="",
        metavar="DIR",
        help="for --runtime torch: folder of the networks that find hands (default: "
        "fetched once with pip)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        help="least confidence, 0 to 1; of less, the answer is uncertain",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, a line a file")
    return parser


@exit_2_on_input_error
def main(served: Callable[[str], TrainedModel | None]) -> None:
    """Run the command.

    Args:
        served: Gives the model that is served under a name on this machine, if any.
    """
    args = arguments().parse_args()
    if not 0 <= args.threshold <= 1:
        raise InputError(f"--threshold is {args.threshold}; it must be from 0 to 1")
    if args.csv_row:
        photographs = [read_row(args.csv_row)]
    else:
        photographs = [read_file(file) for file in args.image]
    if args.run:
        model = of_run(args.run)
    else:
        model = served(args.name) or of_run(newest_run(args.name))
    print(f"model {model.describe()}", file=sys.stderr)
    found = ask(model, photographs, args.runtime, args.hand_networks)
    for photograph, row in zip(photographs, found):
        answer = answer_of(model, photograph, row, args.threshold)
        if args.json:
            print(json.dumps(answer))
        else:
            print(as_text(answer, args.threshold, bool(args.csv_row)))


def answer_of(
    model: TrainedModel, photograph: Photograph, row: np.ndarray, threshold: float
) -> dict:
    """What is said of a photograph, in the form that the client has as well."""
    best = int(row.argmax())
    answer = {
        "image": photograph.title,
        "predicted_class": model.classes[best] if row[best] >= threshold else UNCERTAIN,
        "confidence": float(row[best]),
        "all_predictions": dict(zip(model.classes, map(float, row))),
        "model": {
            "name": model.name,
            "version": None if model.version is None else str(model.version),
            "training": model.training,
        },
    }
    return answer if photograph.label is None else answer | {"label": photograph.label}


def as_text(answer: dict, threshold: float, with_all: bool) -> str:
    """The same for people; ``with_all``: with all probabilities, a line a class."""
    confidence = beside(answer["confidence"], threshold)
    lines = [f"Result: {answer['predicted_class']} (confidence: {confidence})"]
    if "label" in answer:
        lines.append(f"The table says {answer['label']}.")
    if with_all:
        chances = answer["all_predictions"]
        width = max(map(len, chances))
        ranked = sorted(chances.items(), key=lambda item: -item[1])
        lines += [f"  {name:{width}}  {chance:.4f}" for name, chance in ranked]
    return "\n".join(lines)


def read_file(file: str) -> Photograph:
    """Read an encoded photograph.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return Photograph(file, Path(file).read_bytes())
    except IsADirectoryError:
        raise InputError(
            f"{file} is a folder; name photographs, such as {file}/*.jpg"
        ) from None
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror}); name a photograph"
        ) from None


def read_row(text: str) -> Photograph:
    """Read ``FILE[:N]``, a row of a Sign-MNIST table.

    Raises:
        InputError: There is no such row, or it is damaged.
    """
    file, colon, number = text.rpartition(":")
    if not (colon and number.isdecimal()):
        file, number = text, "1"
    label, data = containers.table_row(Path(file), int(number))
    return Photograph(f"{file}:{int(number)}", data, label)


def infer(
    run: Path, files: list[str], runtime: str, hand_networks: str = ""
) -> np.ndarray:
    """Classify encoded images with the results of a training.

    Args:
        run: Results of a training.
        files: Paths of images.
        runtime: "onnx" for the exported graph, "torch" for the checkpoint.
        hand_networks: Folder of the hand networks, for "torch"; "" for fetched ones.

    Returns:
        ``(len(files), classes)`` float32 probabilities.

    Raises:
        InputError: A file or the run cannot be read.
    """
    photographs = [read_file(file) for file in files]
    return ask(of_run(run), photographs, runtime, hand_networks)


def ask(
    model: TrainedModel,
    photographs: Sequence[Photograph],
    runtime: str,
    hand_networks: str = "",
) -> np.ndarray:
    """Give a model's answers, ``(N, classes)`` float32 probabilities.

    Raises:
        InputError: A photograph is broken, or files of the model are missing.
    """
    pixels = np.array([prepare(photograph, model.record) for photograph in photographs])
    try:
        if runtime == "onnx":
            from training.graph import onnx_predict

            return onnx_predict(model.graph, pixels)
        return ask_torch(model, pixels, hand_networks)
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); --run must name the "
            "results of a training"
        ) from None
    except Exception as error:  # whatever torch and ONNX Runtime say of broken files
        reason = " ".join(str(error).split())[:100]
        raise InputError(
            f"the model in {model.run} cannot be used ({reason}); --run must name the "
            "complete results of a training"
        ) from None


def prepare(photograph: Photograph, record: Preprocessing) -> np.ndarray:
    """Make an image as the model wants it: ``(S, S, 3)`` uint8 RGB.

    Raises:
        InputError: It is broken.
    """
    try:
        return record.apply(photograph.data)
    except BrokenImage as error:
        raise InputError(
            f"{photograph.title}: {error}; give a complete photograph"
        ) from None


def ask_torch(
    model: TrainedModel, pixels: np.ndarray, hand_networks: str
) -> np.ndarray:
    """Load the network from a training's results and ask it."""
    import torch

    from training.config import RunConfig
    from training.hands.model import HandModel
    from training.hands.training import load_letters
    from training.loop import BEST_FILE, predict
    from training.start import build_classifier

    run, classes = model.run, len(model.classes)
    evaluation = json.loads((run / EVALUATION).read_text(encoding="utf-8"))
    names = [name for name in ("model", "grey", "find_hand") if name in evaluation]
    choices = RunConfig(**{name: evaluation[name] for name in names})
    network, _ = build_classifier(choices, classes, model.record)
    state = torch.load(run / BEST_FILE, map_location="cpu", weights_only=True)
    network.load_state_dict(state)
    if choices.find_hand == "yes":
        letters = load_letters(run, classes, network)
        network = HandModel.load(letters, hand_networks)
    return predict(network, pixels)


if __name__ == "__main__":
    from pipelines.repository.served_model import served_model

    main(served_model)
