"""How long a camera's frame takes to its letter, and how many frames a second pass.

    scripts/bench frames [--browsers N ...] [--seconds S] [--json FILE]

Starts the page (scripts/demo) before the deployed model and sends it frames of drawn
hands as browsers do (demo/page/stream.js): 480 x 360, JPEG, at most 15 a second, two on
their way, and none while two are. Only the browsers themselves are missing: in use they
run on other machines.
"""

import argparse
import asyncio
import contextlib
import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import websockets

from benchmarks.train import machine
from data_prep.command_line import command_parser
from data_prep.draw import image_rng
from data_prep.drawing import scene
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.model_name import add_name
from data_prep.paths import ROOT, data_home
from pipelines import loopback
from pipelines.child_process import ending_with_us

# As stream.js has them; before each picture its time, width and height.
HEADER = struct.Struct("<dHH")
WIDTH, HEIGHT, QUALITY = 480, 360, 85
RATE, ON_THE_WAY, LOST_MS = 15, 2, 5000
SIGNS = "ABCDEFGHIKLMNOPQRSTUVWXY"
WARM_UP_S = 2.0  # of a measurement, before it counts


@dataclass(frozen=True)
class Outcome:
    """What some browsers had at the same time.

    Attributes:
        browsers: How many.
        rates: Answered frames a second, of each.
        p50, p95: From a frame to its letter, of all frames, ms.
        server_p50: Of that in the gateway and in Triton, ms.
    """

    browsers: int
    rates: tuple[float, ...]
    p50: float
    p95: float
    server_p50: float


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "scripts/bench frames",
        description="Measure the way from a camera's frame to its letter.",
        example="--browsers 1 4",
    )
    parser.add_argument(
        "--browsers",
        type=int,
        nargs="+",
        default=(1, 4),
        metavar="N",
        help="so many at once, one measurement each (default 1 and 4)",
    )
    parser.add_argument(
        "--seconds", type=int, default=10, help="of each measurement (default 10)"
    )
    add_name(parser, "that the page asks", "--model")
    parser.add_argument(
        "--url", metavar="HOST:PORT", help="gRPC address of Triton, as of scripts/demo"
    )
    parser.add_argument(
        "--repository",
        type=Path,
        default=data_home() / "models",
        help="Triton model repository, as of scripts/demo (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, help="write all measurements there")
    return parser


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    for name, values in {"seconds": [args.seconds], "browsers": args.browsers}.items():
        if min(values) < 1:
            raise InputError(f"--{name} is {min(values)}; it must be 1 or more")
    loopback.bypass_proxies()
    print(f"{machine()}; frames of {WIDTH} x {HEIGHT}", flush=True)
    pictures = [draw(sign) for sign in SIGNS]
    with page(args) as address:
        outcomes = []
        for browsers in args.browsers:
            outcomes.append(asyncio.run(measure(address, pictures, browsers, args)))
            print(line(outcomes[-1]), flush=True)
    if args.json:
        found = {"machine": machine(), "measured": [asdict(one) for one in outcomes]}
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def draw(sign: str) -> bytes:
    """A frame as a browser sends it: an encoded picture of a drawn hand."""
    side = scene.draw_image(sign, image_rng(0, sign, 0), HEIGHT)
    left = (WIDTH - HEIGHT) // 2
    wide = cv2.copyMakeBorder(side, 0, 0, left, left, cv2.BORDER_REPLICATE)
    bgr = cv2.cvtColor(wide, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


@contextlib.contextmanager
def page(args: argparse.Namespace) -> Iterator[str]:
    """Run the page; give the address of its stream.

    Raises:
        InputError: It ended at once; it has said why.
    """
    command = [sys.executable, "-m", "demo.serve", "--port", "0", "--model", args.model]
    command += ["--repository", str(args.repository)]
    command += ["--url", args.url] if args.url else []
    process = subprocess.Popen(
        ending_with_us(command), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        for said in process.stdout:
            if said.startswith("open http://"):
                yield said.split()[1].replace("http", "ws") + "frames"
                return
        raise InputError("scripts/demo has ended; its reason stands above")
    finally:
        process.terminate()
        process.wait(20)


async def measure(
    address: str, pictures: list[bytes], browsers: int, args: argparse.Namespace
) -> Outcome:
    """Show frames to the page from some browsers at once."""
    found = await asyncio.gather(
        *(browse(address, pictures[i:] + pictures[:i], args) for i in range(browsers))
    )
    times = np.concatenate(found)
    p50, p95 = np.percentile(times[:, 0], [50, 95])
    return Outcome(
        browsers=browsers,
        rates=tuple(len(one) / args.seconds for one in found),
        p50=float(p50),
        p95=float(p95),
        server_p50=float(np.median(times[:, 1])),
    )


async def browse(
    address: str, pictures: list[bytes], args: argparse.Namespace
) -> np.ndarray:
    """Send frames as one browser does.

    Returns:
        ``(answered frames, 2)``: from each to its letter, and of that on the server,
        ms.

    Raises:
        InputError: A frame was not answered by a letter.
    """
    waiting, taken = [], []  # when each was sent; and what is returned
    start = time.monotonic() + WARM_UP_S

    async def receive(socket):
        async for message in socket:
            now, found = time.monotonic(), json.loads(message)
            if "predicted_class" not in found:
                reason = found.get("error") or found.get("away")
                raise InputError(f"a frame was not answered: {reason}")
            waiting[:] = [sent for sent in waiting if sent > found["sent"]]
            if start <= now < start + args.seconds:
                taken.append((1e3 * now - found["sent"], found["server_ms"]))

    async def send(socket):
        number = 0
        while (now := time.monotonic()) < start + args.seconds:
            waiting[:] = [sent for sent in waiting if 1e3 * now - sent < LOST_MS]
            if len(waiting) < ON_THE_WAY:
                waiting.append(1e3 * now)
                head = HEADER.pack(1e3 * now, WIDTH, HEIGHT)
                await socket.send(head + pictures[number % len(pictures)])
                number += 1
            await asyncio.sleep(1 / RATE)
        await socket.close()

    async with websockets.connect(address) as socket:
        await asyncio.gather(send(socket), receive(socket))
    if not taken:
        raise InputError(f"no frame was answered within {args.seconds} s")
    return np.array(taken)


def line(outcome: Outcome) -> str:
    rates = " ".join(f"{rate:.1f}" for rate in outcome.rates)
    return (
        f"{outcome.browsers} browsers: {rates} frames/s; from frame to letter "
        f"{outcome.p50:.0f} ms (95 % within {outcome.p95:.0f} ms), of that "
        f"{outcome.server_p50:.0f} ms on the server"
    )


if __name__ == "__main__":
    main()
