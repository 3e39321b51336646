"""Thousands of damaged images: do decoder and server live, and answer others right?

    python -m benchmarks.mutated_images [--images 20000] [--seed 0]

First every image goes through the decoder of training in a process of its own, then to
the real server, from several clients at once, beside requests with good photographs.
Decoded images must be answered as their pixels demand, others refused with the same
sentence. Prints a table; exit code 2 if anything was killed, wrong or silent.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import onnxruntime
from tqdm import tqdm

from benchmarks.hostile_images import mutated, nasties, originals
from data_prep.draw import draw_dataset
from data_prep.drawing.hand_poses import CLASSES
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.preprocessing import FILE_NAME, BrokenImage, Preprocessing, decode
from pipelines.repository import versions
from pipelines.serving.client import Asker
from pipelines.serving.triton_server import TritonServer

HANDS = 8  # drawn ones, which the good files and the innocent requests are made from
IMAGE_SIZE = 64
HANGS_S = 60  # longer than any image may take
CLIENTS, INNOCENTS = 3, 2
SENTENCE = "broken image: "


@dataclass
class Outcome:
    """What became of the images.

    Attributes:
        answered, refused: How many were.
        killed: Numbers of the images at which a process ended or hung.
        wrong: Numbers of images with another error, another answer or no sentence.
        slowest: Seconds, and the number of the image.
        reasons: How often each refusal was given.
    """

    answered: int = 0
    refused: int = 0
    killed: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    reasons: Counter = field(default_factory=Counter)


def make(files: list[bytes], seed: int, images: int, number: int) -> bytes:
    """The image of a number: one damaged by chance, or behind them one made by hand."""
    if number < images:
        return mutated(files, seed, number)
    return list(nasties(megabytes=1).values())[number - images]()


def through_decoder(
    maker: Callable[[int], bytes], total: int, record: Preprocessing
) -> tuple[Outcome, list]:
    """Decode all images in a process that may die.

    Returns:
        The outcome; and of each image its pixels, its refusal, or None.
    """
    outcome, results = Outcome(), [None] * total
    spawn, number = get_context("spawn"), 0
    with tqdm(total=total, desc="decoder", unit=" images", disable=None) as bar:
        while number < total:
            ours, theirs = spawn.Pipe()
            process = spawn.Process(
                target=_decode_all, args=(theirs, maker, number, total, record)
            )
            process.start()
            theirs.close()
            try:
                while number < total:
                    if not ours.poll(HANGS_S):
                        raise EOFError
                    result, seconds = ours.recv()
                    results[number] = result
                    if isinstance(result, str):
                        outcome.refused += 1
                        outcome.reasons[_kind(result)] += 1
                    elif result is None:
                        outcome.wrong.append(number)
                    else:
                        outcome.answered += 1
                    outcome.slowest = max(outcome.slowest, (seconds, number))
                    number += 1
                    bar.update()
            except (EOFError, ConnectionError):  # it died, or hangs
                outcome.killed.append(number)
                number += 1
            finally:
                process.kill()
                process.join()
    return outcome, results


def _decode_all(pipe, maker, first: int, total: int, record: Preprocessing) -> None:
    """In a process of its own: the pixels of each image, its refusal, or None."""
    cv2.setNumThreads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders complain of every image
    for number in range(first, total):
        data = maker(number)
        start = time.perf_counter()
        try:
            image = decode(data)
            result = record.fit(image) if _is_plain(image) else None
        except BrokenImage as error:
            result = str(error) if "\n" not in str(error) else None
        except Exception:
            result = None
        pipe.send((result, time.perf_counter() - start))


def _is_plain(image: np.ndarray) -> bool:
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


def through_server(
    maker: Callable[[int], bytes],
    results: list,
    good: list[bytes],
    artifacts: Path,
    server: TritonServer,
) -> tuple[Outcome, Outcome]:
    """Send all images, each in a request of its own, beside good photographs.

    Args:
        results: Of the decoder, as `through_decoder` returns them.

    Returns:
        What became of them, and of the good ones.
    """
    session = onnxruntime.InferenceSession(artifacts / "model.onnx")
    answer = partial(_answer, session)
    record = Preprocessing.load(artifacts / FILE_NAME)
    expected = [answer(record.apply(data)) for data in good]
    outcome, innocents, finished = Outcome(), Outcome(), Event()
    numbers = count()
    bar = tqdm(total=len(results), desc="server", unit=" images", disable=None)

    def hostile(protocol: str) -> None:
        urls = {"grpc": server.grpc_url, "http": server.http_url}
        with Asker(urls[protocol], protocol) as ask:
            while (number := next(numbers)) < len(results):
                data, result = maker(number), results[number]
                start = time.perf_counter()
                said = _ask(ask, data)
                seconds = time.perf_counter() - start
                outcome.slowest = max(outcome.slowest, (seconds, number))
                if isinstance(said, str):
                    outcome.refused += 1
                    outcome.reasons[_kind(said.partition(SENTENCE)[2])] += 1
                    right = isinstance(result, str) and SENTENCE + result in said
                else:
                    outcome.answered += 1
                    right = isinstance(result, np.ndarray)
                    right = right and np.allclose(said, answer(result), atol=1e-4)
                if not right:
                    outcome.wrong.append(number)
                bar.update()

    def innocent(first: int) -> None:
        with Asker(server.grpc_url) as ask:
            for number in count(first):
                if finished.is_set():
                    return
                row = number % len(good)
                said = _ask(ask, good[row])
                if isinstance(said, str):
                    innocents.refused += 1
                elif not np.allclose(said, expected[row], atol=1e-4):
                    innocents.wrong.append(number)
                else:
                    innocents.answered += 1

    with ThreadPoolExecutor(CLIENTS + INNOCENTS) as pool, bar:
        beside = [pool.submit(innocent, number) for number in range(INNOCENTS)]
        protocols = ["grpc", "http"] * CLIENTS
        try:
            for work in [pool.submit(hostile, x) for x in protocols[:CLIENTS]]:
                work.result()
        finally:
            finished.set()
        for work in beside:
            work.result()
    return outcome, innocents


def _ask(ask: Asker, data: bytes) -> np.ndarray | str:
    try:
        return ask([data])[0]
    except InputError as error:
        return str(error)


def _answer(session, pixels: np.ndarray) -> np.ndarray:
    inputs = {session.get_inputs()[0].name: pixels[None]}
    (answers,) = session.run(["probabilities"], inputs)
    return answers[0]


def _kind(reason: str) -> str:
    """A refusal without its numbers."""
    words = "".join("#" if x.isdigit() else x for x in reason).split()
    return " ".join(words)[:60]


def model_processes(server: TritonServer) -> set[int]:
    """The processes of a server's models: one that is killed is never started again."""
    found, pid = set(), server.process.pid
    for entry in _processes():
        if entry[1] == pid:
            found.add(entry[0])
    return found


def _processes() -> Iterator[tuple[int, int]]:
    """Process and parent of all that run."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if words[0] != "Z":
            yield int(path.parent.name), int(words[1])


def memory_mib(server: TritonServer) -> int:
    """What a server and its models hold, shared pages counted once for each."""
    pages = 0
    for pid in (server.process.pid, *model_processes(server)):
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 >> 20


def run(images: int, seed: int) -> dict:
    """Run both parts.

    Returns:
        decoder, server and innocents, an Outcome each; alive, whether the server was;
        models_killed, how many of its model processes were gone; memory, MiB before
        and after.
    """
    # it imports torch, which the processes that decode need not do
    from benchmarks.serve_models import make_artifacts

    with tempfile.TemporaryDirectory() as folder:
        hands = draw_dataset(
            Path(folder) / "hands", 1, seed, CLASSES[:HANDS], workers=1
        )
        good = [path.read_bytes() for path in sorted(hands.glob("*/*.jpg"))]
        artifacts = Path(folder) / "artifacts"
        make_artifacts(artifacts, "small_resnet", good, IMAGE_SIZE)
        files = originals([decode(data) for data in good])
        maker = partial(make, files, seed, images)
        total = images + len(nasties())
        record = Preprocessing.load(artifacts / FILE_NAME)
        decoder, results = through_decoder(maker, total, record)
        repository = Path(folder) / "models"
        versions.render(artifacts, repository, {"task_id": "mutated_images"})
        with TritonServer(repository) as server:
            before, memory = model_processes(server), memory_mib(server)
            outcome, innocents = through_server(maker, results, good, artifacts, server)
            alive = server.process.poll() is None
            killed = len(before - model_processes(server)) if alive else len(before)
            memory = memory, memory_mib(server) if alive else 0
    return {
        "decoder": decoder,
        "server": outcome,
        "innocents": innocents,
        "alive": alive,
        "models_killed": killed,
        "memory": memory,
    }


def table(result: dict) -> str:
    """The result in lines of Markdown."""
    lines = [
        "| | answered | refused with a sentence | wrong | processes killed | slowest |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("decoder", "server", "innocents"):
        part = result[name]
        killed = result["models_killed"] if name == "server" else len(part.killed)
        refused = part.refused - len(part.wrong) if name == "server" else part.refused
        shown = {"decoder": "the decoder", "server": "the server"}.get(
            name, "good photographs beside them"
        )
        slowest = f"{part.slowest[0]:.1f} s" if part.slowest[1] >= 0 else ""
        lines.append(
            f"| {shown} | {part.answered} | {refused} | {len(part.wrong)} | "
            f"{'' if name == 'innocents' else killed} | {slowest} |"
        )
    lines.append("")
    before, after = result["memory"]
    lines.append(
        f"server {'alive' if result['alive'] else 'DEAD'}; memory of it and its models "
        f"{before} MiB before, {after} MiB after"
    )
    return "\n".join(lines)


def require_clean(result: dict) -> None:
    """Stop at anything that must not be.

    Raises:
        InputError: Something was killed, wrong or failed.
    """
    decoder, server = result["decoder"], result["server"]
    innocents = result["innocents"]
    bad = {
        "images that ended the decoder": decoder.killed,
        "images that it failed at in another way": decoder.wrong,
        "images answered otherwise than their pixels demand": server.wrong,
        "good photographs answered wrong": innocents.wrong,
        "good photographs refused": innocents.refused,
        "model processes killed": result["models_killed"],
        "servers ended": not result["alive"],
    }
    found = [
        f"{name}: {value if not isinstance(value, list) else value[:10]}"
        for name, value in bad.items()
        if value
    ]
    if found:
        raise InputError("; ".join(found))


@exit_2_on_input_error
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000, help="by chance")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    result = run(args.images, args.seed)
    print(table(result))
    for name in ("decoder", "server"):
        for reason, often in result[name].reasons.most_common():
            print(f"{name}: {often} x {reason}")
    require_clean(result)


if __name__ == "__main__":
    main()
