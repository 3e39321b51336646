"""From photographs to a running server's answer.

    scripts/quickstart [--raw DIR] [--name NAME] [--set train.epochs=30 ...]

Draws sample hands unless --raw names photographs; then validates, prepares, trains,
evaluates, promotes and deploys as a ClearML pipeline on this machine, starts the Triton
server, sends it every photograph of the test split, and asks it about one with the
client.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.draw import draw_dataset
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.model_name import DEFAULT, add_name
from data_prep.parallel import cpu_count
from data_prep.paths import ROOT, data_home
from data_prep.sources import RawImage, find_images
from pipelines import asl
from pipelines.clearml_server.home import home_folder
from pipelines.orchestration import steps
from pipelines.serving.triton_server import TritonServer
from pipelines.tracking import datasets, trainings
from pipelines.tracking.connection import ensure_clearml, is_configured
from pipelines.verify import summary, verify_training

SAMPLES_PER_CLASS = 60
# Whatever comes out of it is shown.
SETTINGS = steps.RECIPE | {"promote": {"min_recall": "0"}}
# With the sample hands the whole chain takes less than three minutes on two cores.
SAMPLE_TRAINING = {"max_minutes": "0.4", "epochs": "12"}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/quickstart",
        description="From photographs to a running server's answer.",
    )
    parser.add_argument(
        "--raw",
        nargs="+",
        default=[],
        metavar="DIR",
        help="your photographs, a folder a class (default: hands drawn here)",
    )
    add_name(parser, "that is made; several are served side by side")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="STEP.OPTION=VALUE",
        help="options of steps, such as train.epochs=30 prepare.image-size=96",
    )
    return parser


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    # A terminal's Ctrl-C reaches all children; other ways to stop us shall, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    defaults = SETTINGS
    if not args.raw:
        defaults = SETTINGS | {"train": SETTINGS["train"] | SAMPLE_TRAINING}
    settings = steps.parse_settings(args.set, steps.of_model(args.name, defaults))
    raw = [str(Path(folder).resolve()) for folder in args.raw]
    if raw:
        find_images(raw)  # a wrong folder is said at once
    else:
        raw = [str(sample_data())]
    say("ClearML pipeline: validate, prepare, train, evaluate, promote, deploy")
    web = ensure_clearml()
    ids = asl.run(raw, "", settings, queue=None, leave_out=("verify",))

    repository = data_home() / "models"
    say("starting the Triton server")
    with TritonServer(repository) as server:
        listed = asl.all_raw(raw, settings)
        result, photograph = score(server, listed, ids, args.name)
        print(summary(result))
        say("asking the server about a photograph it was not trained on")
        with as_file(photograph) as path:
            client = [sys.executable, str(ROOT / "triton" / "client" / "client.py")]
            client += ["--url", server.grpc_url]
            options = [] if args.name == DEFAULT else ["--model", args.name]
            options += ["--image", str(path)]
            print(f"$ client.py {' '.join(options)}", flush=True)
            subprocess.run([*client, *options], check=True)
    if not is_configured(home_folder()):  # it ends with this process
        web = ".venv/bin/python -m pipelines.clearml_server shows all tasks on a page"
    print(closing_words(ids, repository, web))
    if result["agreeing"] < result["images"]:
        raise InputError("server and torch disagree; please report this")


def sample_data() -> Path:
    """Draw the sample photographs, unless an earlier run has; return their folder."""
    folder = data_home() / "raw" / "ASL_drawn"
    if not folder.exists():
        say(f"drawing sample hands into {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        draw_dataset(folder, SAMPLES_PER_CLASS, workers=cpu_count())
    return folder


def score(
    server: TritonServer, raw: list[str], ids: dict[str, str], name: str
) -> tuple[dict, RawImage]:
    """Send all test photographs of the promoted model through the server.

    Returns:
        As `verify` returns it, and the raw image to show.
    """
    from clearml import Task

    best = Task.get_task(Task.get_task(ids["promote"]).get_parameter("Outputs/task_id"))
    dataset_id = ""
    if best.id != ids["train"]:  # an earlier model, perhaps of other photographs
        dataset_id = trainings.raw_dataset(best.get_parameter("Outputs/dataset_id"))
    listing = datasets.find_raw(None if dataset_id else raw, dataset_id)
    result, images = verify_training(
        best, listing, {"grpc": server.grpc_url}, name=name
    )
    return result, images[len(images) // 2]


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


def closing_words(ids: dict[str, str], repository: Path, web: str) -> str:
    runs = data_home() / "runs"
    return f"""
reports           {runs / ids['validate']}
                  {runs / ids['train']}
TensorBoard       .venv/bin/tensorboard --logdir {runs / ids['train'] / 'tensorboard'}
model repository  {repository}
ClearML           {web}

Keep the server running with  scripts/serve
and ask it with  .venv/bin/python triton/client/client.py --image PHOTO.jpg"""


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    main()
