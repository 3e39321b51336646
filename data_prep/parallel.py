"""Run a function over many images on several processes, in order, in little memory."""

import os
import signal
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from typing import Callable, Iterator, Sequence

import cv2
from tqdm import tqdm

CHUNK = 64


def run_chunks(
    function: Callable,
    items: Sequence,
    workers: int,
    title: str,
    start: Callable = None,
    start_args: tuple = (),
) -> Iterator:
    """Yield ``function(first, items[first : first + 64])`` for all chunks, in order.

    Shows progress in images/s. Only a few chunks are under way at a time, so memory
    does not grow with their number. If the caller stops early, so do the processes.

    Args:
        function: Picklable, as are its results.
        workers: Processes; 1: run in this one.
        start, start_args: Called once in each process before its first chunk.
    """
    firsts = range(0, len(items), CHUNK)
    workers = min(workers, len(firsts))
    with tqdm(total=len(items), desc=title, unit=" images", disable=None) as bar:
        if workers <= 1:
            if start:
                start(*start_args)
            for first in firsts:
                chunk = items[first : first + CHUNK]
                yield function(first, chunk)
                bar.update(len(chunk))
            return
        # Processes are spawned, not forked: the parent may run ClearML's threads.
        with ProcessPoolExecutor(
            workers, get_context("spawn"), _start_worker, (start, start_args)
        ) as pool:
            try:
                with _ctrl_c_held_back():
                    pool.submit(int)  # starts all processes
                waiting = deque()
                for first in firsts:
                    chunk = items[first : first + CHUNK]
                    waiting.append((len(chunk), pool.submit(function, first, chunk)))
                    if len(waiting) >= 3 * workers:
                        yield _next(waiting, bar)
                while waiting:
                    yield _next(waiting, bar)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Keep Ctrl-C from processes started meanwhile: it is for the parent alone."""
    resource_tracker.ensure_running()  # it would let the signal through again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def cpu_count() -> int:
    """Cores this process may use, as opposed to those the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _next(waiting: deque, bar: tqdm):
    count, future = waiting.popleft()
    result = future.result()
    bar.update(count)
    return result


def _start_worker(start, start_args) -> None:
    cv2.setNumThreads(1)  # the processes fill the cores already
    if start:
        start(*start_args)
