"""Thousands of damaged images: do decoder and server live, and answer others right?

    scripts/bench reliability images [--images 20000] [--seed 0]

First every image goes through the decoder of training in a process of its own, then to
the real server, from several clients at once, beside requests with good photographs.
Decoded images must be answered as their pixels demand, others refused with the same
sentence. Bad is anything that was killed, wrong or silent.
"""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
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
from data_prep.errors import InputError
from data_prep.image_file import BrokenImage
from data_prep.preprocessing import FILE_NAME, Preprocessing, decode
from pipelines.repository import versions
from pipelines.serving import model_processes
from pipelines.serving.client import TritonClient
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
        interrupted: Whether not all were tried, as Ctrl-C was pressed.
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
    interrupted: bool = False


@dataclass
class Result:
    """What became of the images at either place.

    Attributes:
        innocents: What became of the good photographs that the server was sent.
        alive: Whether the server was, at the end.
        models_killed: How many of its model processes were gone.
        memory: MiB of it and its models, before and after.
    """

    decoder: Outcome = field(default_factory=Outcome)
    server: Outcome = field(default_factory=Outcome)
    innocents: Outcome = field(default_factory=Outcome)
    alive: bool = True
    models_killed: int = 0
    memory: tuple[int, int] = (0, 0)

    @property
    def interrupted(self) -> bool:
        return self.decoder.interrupted or self.server.interrupted

    @property
    def bad(self) -> dict:
        """What must not be, by its name; empty if all is well."""
        found = {
            "images that ended the decoder": self.decoder.killed[:10],
            "images that it failed at in another way": self.decoder.wrong[:10],
            "images answered otherwise than their pixels demand": self.server.wrong[
                :10
            ],
            "good photographs answered wrong": self.innocents.wrong[:10],
            "good photographs refused": self.innocents.refused,
            "model processes killed": self.models_killed,
            "servers ended": int(not self.alive),
        }
        return {name: value for name, value in found.items() if value}


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
            except KeyboardInterrupt:
                outcome.interrupted = True
                return outcome, results
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
            result = record.crop_and_resize(image) if _is_plain(image) else None
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
        with TritonClient(urls[protocol], protocol) as ask:
            while not finished.is_set() and (number := next(numbers)) < len(results):
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
        with TritonClient(server.grpc_url) as ask:
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
        except KeyboardInterrupt:
            outcome.interrupted = True
        finally:
            finished.set()
        for work in beside:
            work.result()
    return outcome, innocents


def _ask(ask: TritonClient, data: bytes) -> np.ndarray | str:
    try:
        return ask([data])[0]
    except InputError as error:
        return str(error)


def _answer(session, pixels: np.ndarray) -> np.ndarray:
    (tensor,), (output, *_) = session.get_inputs(), session.get_outputs()
    return session.run([output.name], {tensor.name: pixels[None]})[0][0]


def _kind(reason: str) -> str:
    """A refusal without its numbers."""
    words = "".join("#" if x.isdigit() else x for x in reason).split()
    return " ".join(words)[:60]


def of_models(server: TritonServer) -> set[int]:
    """The processes of a server's models: one that is killed is never started again."""
    return {x.pid for x in model_processes.of_server(server.process.pid)}


def memory_mib(server: TritonServer) -> int:
    """What a server and its models hold, shared pages counted once for each."""
    pages = 0
    for pid in (server.process.pid, *of_models(server)):
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 >> 20


def run(images: int, seed: int) -> Result:
    """Run both parts; only count what was tried if interrupted."""
    # it imports torch, which the processes that decode need not do
    from benchmarks.serve_models import make_artifacts

    result = Result()
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
        result.decoder, decoded = through_decoder(maker, total, record)
        if result.interrupted:
            return result
        repository = Path(folder) / "models"
        versions.render(artifacts, repository, {"task_id": "mutated_images"})
        with TritonServer(repository) as server:
            before, memory = of_models(server), memory_mib(server)
            result.server, result.innocents = through_server(
                maker, decoded, good, artifacts, server
            )
            result.alive = server.process.poll() is None
            after = of_models(server) if result.alive else set()
            result.models_killed = len(before - after)
            result.memory = memory, memory_mib(server) if result.alive else 0
    return result


def table(result: Result) -> str:
    """The result in lines of Markdown."""
    refused = result.server.refused - len(result.server.wrong)
    rows = {
        "the decoder": (
            result.decoder,
            result.decoder.refused,
            len(result.decoder.killed),
        ),
        "the server": (result.server, refused, result.models_killed),
        "good photographs beside them": (
            result.innocents,
            result.innocents.refused,
            "",
        ),
    }
    lines = ["interrupted", ""] if result.interrupted else []
    lines += [
        "| | answered | refused with a sentence | wrong | processes killed | slowest |",
        "|---|---|---|---|---|---|",
    ]
    for name, (part, refused, killed) in rows.items():
        slowest = f"{part.slowest[0]:.1f} s" if part.slowest[1] >= 0 else ""
        lines.append(
            f"| {name} | {part.answered} | {refused} | {len(part.wrong)} | "
            f"{killed} | {slowest} |"
        )
    before, after = result.memory
    lines += [
        "",
        f"server {'alive' if result.alive else 'DEAD'}; memory of it and its models "
        f"{before} MiB before, {after} MiB after",
        "",
    ]
    lines += [f"{name}: {value}" for name, value in result.bad.items()]
    for name, part in (("decoder", result.decoder), ("server", result.server)):
        for reason, often in part.reasons.most_common(10):
            lines.append(f"{name}: {often} x {reason}")
    return "\n".join(lines)
