"""How fast serving is, against its own limit: decoding and ONNX Runtime alone.

    scripts/bench serve [--raw DIR] [--seconds N] [--rounds N] [--peers] [--json FILE]

For each network, in turn and `--rounds` times in one run:

    pixels    bare: ONNX Runtime alone. Then the server, asked by gRPC for the letter,
              the pixels in the request or in shared memory; and likewise an idle model
              that computes nothing: the limit of the transport.
    letters   bare: decoding and ONNX Runtime alone. Then the server, asked by HTTP and
              by gRPC, the bytes of a photograph in the request; and with --peers other
              servers that do the same, by HTTP.

One process or thread a core for whoever computes; the client, with 8 requests always
under way, runs on the same cores. "of bare" is by the clock, "by CPU" by the processor
time of an image in server and client together, which other programs disturb less.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks import serve_models as models
from benchmarks import serve_peers as peers
from benchmarks.serve_contestants import Contestants, bare, serving
from benchmarks.serve_load import Outcome, check_programs
from benchmarks.train import machine
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.preprocessing import Preprocessing
from pipelines import loopback

NETWORKS = ("small_resnet", "small_resnet:int8", "small_resnet:hand", "resnet18")


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "scripts/bench serve",
        description="Measure the speed of serving.",
        example="--peers",
    )
    parser.add_argument(
        "--raw",
        metavar="DIR",
        type=Path,
        help="a folder of class folders (default: drawn hands)",
    )
    parser.add_argument(
        "--networks",
        nargs="+",
        default=NETWORKS,
        metavar="NAME",
        help="as in training; :hand behind it to find the hand first, :int8 for a "
        "quantised one "
        f"(default {' '.join(NETWORKS)})",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=128,
        help=f"pixels (default 128); always {models.HAND_SIZE} where hands are found",
    )
    parser.add_argument(
        "--seconds", type=int, default=5, help="of each measurement (default 5)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="medians are shown (default 3)"
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="other servers too; each is installed on first use (minutes, 1-2 GB)",
    )
    parser.add_argument("--json", type=Path, help="write all measurements there")
    return parser


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    check(args)
    check_programs()
    loopback.bypass_proxies()
    print(f"{machine()}; images of {args.image_size} px", flush=True)
    measured = {}
    with tempfile.TemporaryDirectory(prefix="asl-bench-") as name:
        folder = Path(name)
        files = models.photographs(args.raw, folder / "raw")
        for network in args.networks:
            for title, outcomes in measure(network, files, folder / network, args):
                print(table(title, outcomes), flush=True)
                measured[title] = outcomes
    if args.json:
        result = {"machine": machine(), "seconds": args.seconds, "measured": measured}
        args.json.write_text(json.dumps(result, default=asdict, indent=1) + "\n")


def check(args: argparse.Namespace) -> None:
    """Find faults now rather than after minutes.

    Raises:
        InputError: An option cannot be used.
    """
    for name in ("seconds", "rounds"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name} is {getattr(args, name)}; it must be 1 or more")
    try:
        Preprocessing(image_size=args.image_size)
    except ValueError as error:
        raise InputError(f"--image-size: {error}") from None
    if args.json and not args.json.absolute().parent.is_dir():
        raise InputError(
            f"--json {args.json}: its folder does not exist; make it first"
        )


def measure(
    network: str, files: list[bytes], folder: Path, args: argparse.Namespace
) -> Iterator[tuple[str, dict[str, list[Outcome]]]]:
    """Measure one network.

    Yields:
        A title, and by contestant the outcome of each round.
    """
    folder.mkdir()
    size, seconds = args.image_size, args.seconds
    if models.HAND in network:
        size = models.HAND_SIZE
    artifacts = models.make_artifacts(folder / "network", network, files, size)
    idle = models.make_idle(folder / "idle", files, size)
    photographs, arrays = models.write(files, size, folder / "images")
    pixels = {"bare": partial(bare, artifacts, arrays, seconds, decode=False)}
    letters = {"bare": partial(bare, artifacts, photographs, seconds, decode=True)}
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(
            serving(folder / "models", artifacts, idle, files, seconds)
        )
        pixels |= ours.of_pixels()
        letters |= ours.of_letters()
        if args.peers:
            letters |= peers.start(
                stack, artifacts, files, ours.letter, seconds, folder / "peers"
            )
        yield f"{network}, pixels", compete(pixels, args.rounds)
        yield f"{network}, letters", compete(letters, args.rounds)


def compete(contestants: Contestants, rounds: int) -> dict[str, list[Outcome]]:
    """Measure all in turn, after a turn to warm up."""
    outcomes = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, measure in contestants.items():
            outcomes[name].append(measure())
    return {name: values[1:] for name, values in outcomes.items()}


def table(title: str, rounds: dict[str, list[Outcome]]) -> str:
    """Show the medians; shares are of the same round's bare rate."""
    lines = [
        f"\n{title:32} images/s  of bare  CPU ms  by CPU   p50 ms   p99 ms",
    ]
    for name, outcomes in rounds.items():
        pairs = list(zip(outcomes, rounds["bare"]))
        rate, cpu, p50, p99 = (
            statistics.median(getattr(outcome, field) for outcome in outcomes)
            for field in ("rate", "cpu", "p50", "p99")
        )
        by_clock = statistics.median(x.rate / bare.rate for x, bare in pairs)
        by_cpu = statistics.median(bare.cpu / x.cpu for x, bare in pairs)
        lines.append(
            f"  {name:30} {rate:8.0f}  {by_clock:7.2f}  {cpu:6.2f}  {by_cpu:6.2f}  "
            f"{p50:7.1f}  {p99:7.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
