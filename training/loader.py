"""Batches of a packed split: shuffled, augmented, by threads ready before they are due.

Threads suffice, since OpenCV releases Python's lock; and they need no copies of the
data, no shared memory and no worker start-up.
"""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from data_prep.errors import InputError
from training import distributed
from training.augment import augment, noise_pool


class TrainBatches:
    """Endless supply of augmented epochs over ``images`` and ``labels``.

    Batch ``b`` of epoch ``e`` depends on ``(seed, e, b)`` alone, not on threads or on
    what was drawn before, so a resumed run sees what an uninterrupted one would.

    Under ``torchrun`` each process gets its share of every batch.

    Args:
        images: ``(N, S, S, C)`` uint8, an array or memmap.
        labels: ``(N,)`` int64.
        batch_size: Images a batch, two a process at least; an incomplete last batch is
            left out unless it is the only one.
        seed: Of order and augmentation.
        vary: The augmentation, called as `augment` is.
        weights: ``(N,)`` how often each image is to be drawn, relative to the others;
            None draws each once an epoch.
        threads: That augment in advance; 0 makes each batch when it is asked for.
        variation: Further arguments of `vary`: strength, flip.
    """

    def __init__(
        self,
        images,
        labels,
        batch_size: int,
        seed: int,
        vary=augment,
        weights=None,
        threads: int = 0,
        **variation,
    ):
        self.images, self.labels, self.vary = images, labels, vary
        self.chances = None if weights is None else weights / weights.sum()
        self.batch_size = min(batch_size, len(labels))
        least = 2 * distributed.world_size()  # batch norm needs two in a process
        if self.batch_size < least:
            raise InputError(
                f"a batch has {self.batch_size} images and needs {least}; give a "
                "larger --batch-size, or more training images"
            )
        self.seed, self.threads, self.variation = seed, threads, variation
        self.noise = noise_pool(images.shape[1], seed)

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size

    def epoch(self, number: int):
        """Iterate over ``(images uint8 (B, S, S, C), labels int64 (B,))`` tensors."""
        order = self._order(np.random.default_rng([self.seed, number]))
        make = functools.partial(self._make, number, order)
        return in_advance(make, range(len(self)), self.threads)

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        if self.chances is None:
            return rng.permutation(len(self.labels))
        return rng.choice(len(self.labels), len(self.labels), p=self.chances)

    def _make(self, epoch: int, order: np.ndarray, batch: int):
        rank, world = distributed.rank(), distributed.world_size()
        rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        rows = rows[rank::world]
        rng = np.random.default_rng([self.seed, epoch, batch, rank])
        images = np.stack(
            [self.vary(self.images[i], rng, self.noise, **self.variation) for i in rows]
        )
        return torch.from_numpy(images), torch.from_numpy(self.labels[rows])


def threads_in_advance(device: torch.device) -> int:
    """How many threads should augment while the device computes; 0 is none.

    On a CPU of two cores they would only take these from OpenMP's threads, all of
    which wait for the slowest: 615 instead of 690 images/s (small_resnet, views).
    """
    cores = len(os.sched_getaffinity(0)) // distributed.world_size()
    return max(1, cores) if device.type != "cpu" or cores > 2 else 0


def in_advance(make: Callable, numbers: Iterable[int], threads: int) -> Iterator:
    """Yield ``make(number)`` of each, in order; made by threads before they are due.

    Args:
        threads: 0 makes each when it is asked for.
    """
    if not threads:
        yield from map(make, numbers)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque()
        try:
            for number in numbers:
                waiting.append(pool.submit(make, number))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # what is left early must not be made to its end
            pool.shutdown(wait=True, cancel_futures=True)


def plain_batches(images: np.ndarray, batch_size: int = 256):
    """Yield ``(B, S, S, C)`` uint8 tensors of a whole split, in order."""
    for start in range(0, len(images), batch_size):
        yield torch.from_numpy(np.array(images[start : start + batch_size]))
