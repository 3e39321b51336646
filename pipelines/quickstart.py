"""From photographs to a running server's answer.

    scripts/quickstart [--raw DIR] [--preset NAME] [--set train.epochs=30 ...]

Draws sample hands unless --raw names photographs; then validates, prepares, trains,
evaluates, promotes and deploys as a ClearML pipeline on this machine, starts the Triton
server, sends it every photograph of the test split, and asks it about one with the
client.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep import packed
from data_prep.answer import add_json, answering
from data_prep.command_line import command_parser
from data_prep.draw import draw_dataset
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.figures import beside, interval
from data_prep.model_name import DEFAULT, add_name
from data_prep.parallel import cpu_count
from data_prep.paths import ROOT, data_home
from data_prep.sources import RawImage
from pipelines.orchestration import class_check, controller, presets
from pipelines.orchestration.run_display import RunDisplay, log_file
from pipelines.orchestration.run_options import add_verbose, make_absolute
from pipelines.serving.triton_server import TritonServer
from pipelines.serving.verification import short_summary
from pipelines.tracking import dataset_copies, trainings
from pipelines.tracking.connection import ensure_clearml
from pipelines.verify import verify_training
from training.reports import EVALUATION, PICTURES

SAMPLES_PER_CLASS = 60
# Whatever comes out of it is shown, and serves: also after a model of other classes, as
# your own photographs' are when they follow the sample hands.
SETTINGS = {
    "promote": {"min_recall": "0"},
    "deploy": {"allow_new_classes": "true"},
}
LEAST_ACCURACY = 0.5  # below it, something went wrong with most people's photographs
ASKED = 1000  # photographs of the test split that go through the server, at most
# With the sample hands the whole chain takes three minutes on two cores, or four.
SAMPLE_TRAINING = {"max_minutes": "0.4", "epochs": "12"}


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "scripts/quickstart",
        description="From photographs to a running server's answer.",
        example="--raw photographs --set train.max-minutes=5",
        exit_codes="3 what came out is not good enough, see the warning",
    )
    parser.add_argument(
        "--raw",
        nargs="+",
        default=[],
        metavar="DIR",
        help="your photographs, a folder a class (default: hands drawn here)",
    )
    presets.add_preset(parser)
    add_name(parser, "that is made; with a --preset the default is its name")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="STEP.OPTION=VALUE",
        help="options of steps, such as train.epochs=30 prepare.image-size=96",
    )
    parser.add_argument(
        "--least-accuracy",
        type=float,
        default=LEAST_ACCURACY,
        help="end with exit code 3 if the model is right about a smaller share of the "
        "test photographs, 0 to 1 (default %(default)s)",
    )
    add_verbose(parser)
    add_json(parser, "how good the model is, what serves, the steps' ClearML tasks")
    return parser


@exit_2_on_input_error
def main() -> None:
    with answering(arguments()) as answer:
        code = run(arguments().parse_args(), answer)
    sys.exit(code)


def run(args: argparse.Namespace, told: dict) -> int:
    """Run everything; return the exit code.

    Args:
        told: Is given the outcome, for programs.

    Raises:
        InputError: An option or the photographs cannot be used, or a step failed.
    """
    if not 0 <= args.least_accuracy <= 1:
        raise InputError(
            f"--least-accuracy is {args.least_accuracy:g}; it must be 0 to 1"
        )
    settings = all_settings(args)
    name = settings["train"].get("name", DEFAULT)
    raw = args.raw
    if raw:
        class_check.check_raw(controller.all_raw(raw, settings), settings)
    display = RunDisplay(None if args.verbose else log_file("quickstart"))
    print("From photographs to a server that reads signs.", end=" ")
    print(f"What the steps print is in {short(display.log)}\n" if display.log else "\n")
    with display.quiet():
        raw = raw or [str(sample_data(display))]
        told["log"] = str(display.log or "")
        ensure_clearml()
        ids = controller.run(raw, "", settings, None, ("verify",), display)
        listed = controller.all_raw(raw, settings)
        answer = serve_and_ask(listed, ids, name, display)
    told.update(
        steps=ids,
        accuracy=answer.result["accuracy"],
        images=answer.result["images"],
        model=answer.result["model"],
        is_of_this_run=answer.best.id == ids["train"],
        asked=answer.client,
    )
    print(closing_words(ids, answer, name))
    return judge(ids, answer, args.least_accuracy)


def all_settings(args: argparse.Namespace) -> dict[str, dict[str, str]]:
    """The options of all steps; --raw becomes what the preset makes of it.

    Raises:
        InputError: --set or the preset is misspelt, or its pictures are missing.
    """
    preset = presets.load(args.preset)
    if preset.name != DEFAULT and not args.raw:
        raise InputError(
            f"the {preset.label} is for pictures of yours; name them with --raw DIR"
        )
    args.val_set, args.test_set, args.external = [], [], []
    presets.locate(preset, args)
    make_absolute(args)
    given = {
        "quickstart": SETTINGS,
        "raw": {"prepare": {"val_set": args.val_set, "test_set": args.test_set}},
    }
    if not args.raw:
        given["sample hands"] = {"train": SAMPLE_TRAINING}
    return presets.resolved(presets.layers(preset, args.name, args.set, given))


@dataclass(frozen=True)
class Answer:
    """The answers of the running server.

    Attributes:
        result: Of the test photographs asked about, as `verify` returns it.
        best: The training task whose model serves.
        photograph: One of them.
        client: What the client printed about it.
    """

    result: dict
    best: Any
    photograph: RawImage
    client: dict

    def describe(self) -> str:
        """Say in a line what was asked and answered."""
        predicted, truth = self.client["predicted_class"], self.photograph.label
        verdict = "right" if predicted == truth else "wrong"
        return (
            f"asked about a photograph of {truth}, the server answers {predicted} "
            f"({100 * self.client['confidence']:.0f} % sure): {verdict}"
        )


def sample_data(display: RunDisplay) -> Path:
    """Draw the sample photographs, unless an earlier run has; return their folder."""
    folder = data_home() / "raw" / "ASL_drawn"
    if not folder.exists():
        with display.running("draw") as told:
            folder.parent.mkdir(parents=True, exist_ok=True)
            draw_dataset(folder, SAMPLES_PER_CLASS, workers=cpu_count())
            told.append(f"sample hands, {SAMPLES_PER_CLASS} a sign, in {short(folder)}")
    return folder


def serve_and_ask(
    raw: list[str], ids: dict[str, str], name: str, display: RunDisplay
) -> Answer:
    """Start the server, send it test photographs, and one with the client."""
    from clearml import Task

    best = Task.get_task(Task.get_task(ids["promote"]).get_parameter("Outputs/task_id"))
    display.start("serve")
    with TritonServer(data_home() / "models") as server:
        display.end("serve", f"Triton runs, at {server.grpc_url} for now")
        with display.running("verify") as told:
            result, photograph = score(server, raw, ids, best, name)
            told.append(short_summary(result))
        with display.running("ask") as told:
            with as_file(photograph) as path:
                client = ask(server, path, name)
            answer = Answer(result, best, photograph, client)
            told.append(answer.describe())
    if result["agreeing"] < result["images"]:
        raise InputError("server and torch disagree; please report this")
    return answer


def score(
    server: TritonServer, raw: list[str], ids: dict[str, str], best, name: str
) -> tuple[dict, RawImage]:
    """Send test photographs of the promoted model through the server, at most ASKED.

    Returns:
        As `verify` returns it, and the raw image to show.
    """
    dataset_id = ""
    if best.id != ids["train"]:  # an earlier model, perhaps of other photographs
        dataset_id = trainings.raw_dataset(best.get_parameter("Outputs/dataset_id"))
    listing = dataset_copies.find_raw(None if dataset_id else raw, dataset_id)
    result, images = verify_training(
        best, listing, {"grpc": server.grpc_url}, ASKED, name
    )
    return result, images[len(images) // 2]


def ask(server: TritonServer, photograph: Path, name: str) -> dict:
    """Ask with the client, as people will; return what it says of a photograph."""
    client = [sys.executable, str(ROOT / "triton" / "client" / "client.py")]
    client += ["--url", server.grpc_url, "--model", name]
    client += ["--image", str(photograph), "--json"]
    done = subprocess.run(client, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)[0]


@contextmanager
def as_file(image: RawImage) -> Iterator[Path]:
    """Give the path of a raw image; of a temporary copy if it lies in an archive."""
    if image.member is None:
        yield Path(image.file)
        return
    with tempfile.TemporaryDirectory(prefix="asl-photograph-") as folder:
        path = Path(folder, Path(image.path).name)
        path.write_bytes(image.read())
        yield path


def closing_words(ids: dict[str, str], answer: Answer, name: str) -> str:
    """Say how good the model is, which one serves, what to look at and what is next."""
    result, run = answer.result, data_home() / "runs" / ids["train"]
    share = 100 * result["accuracy"]
    low, high = interval(result["correct"], result["images"])
    client = ".venv/bin/python triton/client/client.py"
    if name != DEFAULT:
        client += f" --model {name}"
    lines = [
        "",
        f"The model is right about {share:.1f} % of {result['images']} photographs "
        "that it has not learned from.",
        f"Of very many photographs of the same kind it would be {100 * low:.0f} to "
        f"{100 * high:.0f} %.",
        *strangers(answer.best),
        which_serves(ids, answer),
        "",
        f"Look at    {short(run / PICTURES[0])}",
        "           (what is taken for what)",
        "Next       scripts/demo      a page that reads your hand before a camera",
        "           scripts/serve     the server, until Ctrl-C; then ask it about a "
        "photograph:",
        f"           {client} --image PHOTO.jpg",
        "           scripts/quickstart --raw DIR      yours, a folder for each sign",
    ]
    return "\n".join(lines)


def strangers(training) -> list[str]:
    """Say how good a training was on sources that it left out, if it left any out."""
    evaluation = json.loads(trainings.artifact(training, EVALUATION).read_text())
    left_out = evaluation.get("held_out_signers")
    if not left_out:
        return []
    best = max(source["accuracy"] for source in left_out["sources"].values())
    return [
        f"Of people it has never seen, expect {100 * left_out['mean']:.0f} %: "
        f"{100 * left_out['worst']:.0f} to {100 * best:.0f} % of each of "
        f"{len(left_out['sources'])} sources, by networks that have not seen it."
    ]


def short(path: Path) -> Path:
    """A path as seen from the current folder, if it lies in it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def which_serves(ids: dict[str, str], answer: Answer) -> str:
    """Say whether the model of this run serves, and if not, why."""
    from clearml import Task

    if answer.best.id == ids["train"]:
        return "The model of this run serves."
    reason = Task.get_task(ids["promote"]).get_parameter("Outputs/reason")
    return (
        f"NOT the model of this run serves, but an earlier one ({answer.best.id}): "
        f"{reason}."
    )


def judge(ids: dict[str, str], answer: Answer, least_accuracy: float) -> int:
    """Choose the exit code: 3 if the result is not good enough; then say why."""
    accuracy = answer.result["accuracy"]
    if accuracy < least_accuracy:
        shown = beside(100 * accuracy, 100 * least_accuracy, 0)
        print(
            f"warning: the model is right about {shown} % only, less than "
            f"--least-accuracy {least_accuracy:g}; give more photographs of each "
            "class, or more time: --set train.max-minutes=10 train.epochs=60",
            file=sys.stderr,
        )
        return 3
    ours = packed.read_classes(data_home() / "runs" / ids["train"])
    served = packed.read_names(trainings.artifact(answer.best, packed.CLASSES_FILE))
    if ours != served:
        print(
            f"warning: the server answers with other classes ({', '.join(served[:4])}, "
            f"...) than those of this run ({', '.join(ours[:4])}, ...)",
            file=sys.stderr,
        )
        return 3
    return 0


if __name__ == "__main__":
    main()
