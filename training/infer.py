"""Ask a trained model about photographs, without any server.

    python -m training.infer --image FILE [FILE ...] [--runtime onnx|torch] [--json]

Prints ``Result: A (confidence: 0.95)``. With --threshold, answers of less confidence
are ``unknown``; evaluation.json names the threshold of 99 % precision.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep import packed, preprocessing
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.model_name import DEFAULT
from data_prep.paths import data_home
from data_prep.preprocessing import BrokenImage, Preprocessing
from training.reports import EVALUATION

UNKNOWN = "unknown"


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m training.infer",
        description="Ask a trained model about photographs.",
        example="--image photograph.jpg",
    )
    parser.add_argument(
        "--image",
        nargs="+",
        required=True,
        metavar="FILE",
        help="photographs to ask about",
    )
    parser.add_argument(
        "--run",
        type=Path,
        metavar="DIR",
        help="results of a training (default: the newest in the data folder)",
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
        "--threshold", type=float, default=0.0, help="least confidence, 0 to 1"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, a line a file")
    return parser


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    if not 0 <= args.threshold <= 1:
        raise InputError(f"--threshold is {args.threshold}; it must be from 0 to 1")
    run = args.run or newest_run()
    probabilities = infer(run, args.image, args.runtime, args.hand_networks)
    classes = packed.read_classes(run)
    model = {"name": name_of(run), "version": run.resolve().name}
    print(f"model {model['name']} of {run}", file=sys.stderr)
    for image, row in zip(args.image, probabilities):
        best = int(row.argmax())
        label = classes[best] if row[best] >= args.threshold else UNKNOWN
        if args.json:
            answer = {
                "image": image,
                "predicted_class": label,
                "confidence": float(row[best]),
                "all_predictions": dict(zip(classes, map(float, row))),
                "model": model,
            }
            print(json.dumps(answer))
        else:
            print(f"Result: {label} (confidence: {row[best]:.2f})")


def name_of(run: Path) -> str:
    """The name of a training's model, as its graph keeps it."""
    import onnx

    graph = onnx.load(run / "model.onnx", load_external_data=False)
    kept = {entry.key: entry.value for entry in graph.metadata_props}
    return kept.get("name") or DEFAULT


def newest_run() -> Path:
    """Find the newest training with a model.

    Raises:
        InputError: There is none.
    """
    runs = data_home() / "runs"
    models = sorted(runs.glob("*/model.onnx"), key=lambda path: path.stat().st_mtime)
    if not models:
        raise InputError(
            f"no trained model in {runs}; train one with python -m training.train, or "
            "name its folder with --run"
        )
    return models[-1].parent


def infer(
    run: Path, files: list[str], runtime: str, hand_networks: str = ""
) -> np.ndarray:
    """Classify encoded images.

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
    try:
        record = Preprocessing.load(run / preprocessing.FILE_NAME)
        pixels = np.array([read(file, record) for file in files])
        return ask(run, runtime, record, pixels, hand_networks)
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
            f"the model in {run} cannot be used ({reason}); --run must name the "
            "complete results of a training"
        ) from None


def read(file: str, record: Preprocessing) -> np.ndarray:
    """Read an image as the model wants it: ``(S, S, 3)`` uint8 RGB.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return record.apply(Path(file).read_bytes())
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None
    except BrokenImage as error:
        raise InputError(f"{file}: {error}; give a complete photograph") from None


def ask(
    run: Path,
    runtime: str,
    record: Preprocessing,
    pixels: np.ndarray,
    hand_networks: str = "",
):
    """Load a model and give its answers to ``(N, S, S, 3)`` uint8 images."""
    if runtime == "onnx":
        from training.graph import onnx_predict

        return onnx_predict(run / "model.onnx", pixels)

    import torch

    from training.config import RunConfig
    from training.hands.model import HandModel
    from training.hands.training import load_letters
    from training.loop import BEST_FILE, predict
    from training.run import build_classifier

    evaluation = json.loads((run / EVALUATION).read_text())
    names = [name for name in ("model", "grey", "find_hand") if name in evaluation]
    choices = RunConfig(**{name: evaluation[name] for name in names})
    classes = len(packed.read_classes(run))
    model, _ = build_classifier(choices, classes, record)
    state = torch.load(run / BEST_FILE, map_location="cpu", weights_only=True)
    model.load_state_dict(state)
    if choices.find_hand == "yes":
        model = HandModel.load(load_letters(run, classes, model), hand_networks)
    return predict(model, pixels)


if __name__ == "__main__":
    main()
