"""Build a TensorRT plan of the served model, as a model that Triton can load.

    python -m pipelines.export_plan [--name NAME] --out DIR [--precision fp16]

Makes ``DIR/NAME_plan`` with ``1/model.plan``, ``config.pbtxt``, labels and a warm-up;
it takes pixels, as NAME_classifier does. A plan is for the release of TensorRT and the
kind of GPU that it was built with: run this where it is to be served, in the container
of that Triton, which has NVIDIA's trtexec.

Without plans, ``pipelines.deploy --device gpu --accelerator tensorrt`` has the server
build the engines itself when it loads a version, and keep them.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from data_prep.answer import add_json, answering
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.model_name import add_name
from pipelines.repository import model_config
from pipelines.repository.graph_check import check_graph
from pipelines.repository.model_config import PRECISIONS, GraphShapes, Settings
from pipelines.repository.served_model import served_model
from pipelines.repository.tensorrt_graph import write_for_tensorrt

TOOL = "trtexec"
PLACES = "/usr/src/tensorrt/bin:/opt/tensorrt/bin"  # in NVIDIA's images
LONGEST_S = 3600  # that building may take


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m pipelines.export_plan",
        description="Build a TensorRT plan of the served model.",
        example="--name flowers --out plans --precision fp16",
    )
    add_name(parser, "of which a plan is built: the version that is served")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder to put it in"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="of the engine; fp16 is what may be used, where it is faster",
    )
    add_json(parser, "the folder of the plan")
    return parser


@exit_2_on_input_error
def main() -> None:
    with answering(arguments()) as answer:
        answer["plan"] = str(export(arguments().parse_args()))


def export(args: argparse.Namespace) -> Path:
    """Build the plan; return the folder of the model that it is.

    Raises:
        InputError: TensorRT or the model is missing, or the plan is there already.
    """
    tool = find_tool()
    model = served_model(args.name)
    if model is None:
        raise InputError(
            f"no model {args.name} is deployed here; run python -m pipelines.deploy "
            f"--name {args.name}"
        )
    target = args.out / f"{args.name}_plan"
    if target.exists():
        raise InputError(f"{target} exists already; remove it, or choose another --out")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out, prefix=".plan-") as temporary:
        folder = Path(temporary) / target.name
        shapes = check_graph(model.graph)
        (folder / "1").mkdir(parents=True)
        graph = Path(temporary) / model.graph.name
        write_for_tensorrt(model.graph, graph)
        build(command(tool, graph, folder / "1" / "model.plan", shapes, args.precision))
        part = model.graph.parents[1]
        shutil.copyfile(
            part / model_config.LABELS_FILE, folder / model_config.LABELS_FILE
        )
        shutil.copytree(part / "warmup", folder / "warmup")
        text = model_config.to_text(plan_config(target.name, shapes))
        (folder / model_config.CONFIG_FILE).write_text(text, encoding="utf-8")
        folder.rename(target)
    print(f"plan of {model.describe()}: {target}")
    return target


def find_tool() -> str:
    """Find trtexec.

    Raises:
        InputError: It is not on this machine.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), PLACES))
    if tool := shutil.which(TOOL, path=path):
        return tool
    raise InputError(
        f"TensorRT is not on this machine: there is no {TOOL} on the PATH or in "
        f"{PLACES.replace(':', ', ')}; run this in the container of the Triton that is "
        "to serve the plan"
    )


def command(
    tool: str, graph: Path, plan: Path, shapes: GraphShapes, precision: str
) -> list[str]:
    """The command line that builds a plan for all batches that a model takes."""
    profiles = model_config.profiles(shapes)
    return [
        tool,
        f"--onnx={graph}",
        f"--saveEngine={plan}",
        *(f"--{which}Shapes={shape}" for which, shape in profiles.items()),
        *(["--fp16"] if precision == "fp16" else []),
        "--skipInference",
    ]


def build(line: list[str]) -> None:
    """Run trtexec, which takes minutes.

    Raises:
        InputError: It fails; the message has what it said last.
    """
    try:
        done = subprocess.run(
            line,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LONGEST_S,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{TOOL} has not ended within {LONGEST_S} s") from None
    if done.returncode:
        said = [x for x in done.stdout.splitlines() if "[E]" in x]
        reason = (said or done.stdout.splitlines() or ["nothing"])[-1]
        raise InputError(f"{TOOL} has built no plan; it says: {reason.strip()[:200]}")


def plan_config(name: str, shapes: GraphShapes) -> ModelConfig:
    """Describe the plan to Triton, as the classifier of a GPU."""
    settings = Settings(device="gpu", instances=1)
    config = model_config.classifier(shapes, settings)
    config.name, config.backend = name, "tensorrt"
    return config


if __name__ == "__main__":
    main()
