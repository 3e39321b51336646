"""Run a function over many images on several processes, in order, in little memory."""

import argparse
import os
import signal
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import wait
from threading import Thread, current_thread, main_thread
from typing import Callable, Iterator, Sequence

import cv2

from data_prep.errors import InputError
from data_prep.progress import Progress

CHUNK = 64


def run_chunks(
    function: Callable,
    items: Sequence,
    workers: int,
    title: str,
    start: Callable | None = None,
    start_args: tuple = (),
) -> Iterator:
    """Yield ``function(first, items[first : first + 64])`` for all chunks, in order.

    Shows progress in images/s. Only a few chunks are under way at a time, so memory
    does not grow with their number. If the caller stops early, so do the processes.

    Args:
        function: Picklable, as are its results.
        workers: Processes at most; 1: run in this one, which a decoder that crashes
            ends. Otherwise it ends a process only, and the item is named.
        start, start_args: Called once in each process before its first chunk.

    Raises:
        InputError: A process was ended by an item, or from outside.
    """
    firsts = range(0, len(items), CHUNK)
    with Progress(title, len(items)) as bar:
        if workers <= 1 or not items:
            if start:
                start(*start_args)
            for first in firsts:
                chunk = items[first : first + CHUNK]
                yield function(first, chunk)
                bar.update(len(chunk))
            return
        waiting = deque()  # chunks under way, and their results
        try:
            with _pool(min(workers, len(firsts)), start, start_args) as submit:
                for first in firsts:
                    chunk = items[first : first + CHUNK]
                    waiting.append((first, chunk, submit(function, first, chunk)))
                    if len(waiting) >= 3 * workers:
                        yield _next(waiting, bar)
                while waiting:
                    yield _next(waiting, bar)
        except BrokenProcessPool:
            begun = [(first, chunk) for first, chunk, _ in waiting]
            raise _who_ended_it(function, begun, start, start_args) from None


@contextmanager
def _pool(workers: int, start, start_args) -> Iterator[Callable]:
    """Processes that end with the block; yields how to give them work."""
    # Processes are spawned, not forked: the parent may run ClearML's threads.
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), _start_worker, (start, start_args)
    )

    def submit(*work):
        with _ctrl_c_held_back():  # the first ones start the processes
            return pool.submit(*work)

    try:
        yield submit
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _who_ended_it(function, begun, start, start_args) -> InputError:
    """Find the item at which a process ends: chunk by chunk, then one by one.

    Args:
        begun: The chunks that were under way, with the numbers of their first items.
    """

    def first_to_end(works):
        with _pool(1, start, start_args) as submit:
            for first, chunk in works:
                try:
                    submit(function, first, chunk).result()
                except BrokenProcessPool:
                    return first, chunk
                except Exception:  # an error of its own does not end a process
                    continue

    found = first_to_end(begun)
    if found:
        first, chunk = found
        found = first_to_end((first + i, chunk[i : i + 1]) for i in range(len(chunk)))
    if not found:
        return InputError(
            "a process that worked on the images was ended from outside; did the "
            "memory suffice? Run again with fewer --workers"
        )
    item = found[1][0]
    return InputError(
        f"{getattr(item, 'path', item)}: a process ended while it worked on this; "
        "remove or replace it"
    )


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Put off Ctrl-C while processes start, and keep it from them for good.

    They inherit the mask: Ctrl-C is for the parent, which stops them. But a signal also
    reaches the parent through threads that have no mask, hence the handler.
    """
    resource_tracker.ensure_running()  # or it would lift the mask when it starts
    came, usual = [], None
    if current_thread() is main_thread():
        usual = signal.signal(signal.SIGINT, lambda *signalled: came.append(signalled))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if usual is not None:
            signal.signal(signal.SIGINT, usual)
        if came and callable(usual):
            usual(*came[0])


def cpu_count() -> int:
    """Cores this process may use, as opposed to those the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _next(waiting: deque, bar: Progress):
    _, chunk, future = waiting[0]
    result = future.result()
    waiting.popleft()
    bar.update(len(chunk))
    return result


def _start_worker(start, start_args) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)  # the processes fill the cores already
    if start:
        start(*start_args)


def _end_with_parent() -> None:
    """A killed parent cannot tell its processes to stop; they would wait forever."""
    if parent := parent_process():
        wait([parent.sentinel])
    os._exit(1)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add the number of processes that a step starts: --workers."""
    parser.add_argument(
        "--workers", type=int, default=0, help="processes; 0 (default): one a core"
    )


def workers(args: argparse.Namespace) -> int:
    """How many processes a step starts; two at least, if nothing else is asked for.

    Raises:
        InputError: A number below 0 is asked for.
    """
    if args.workers < 0:
        raise InputError(f"--workers is {args.workers}; it must be 0 or more")
    return args.workers or max(2, cpu_count())
