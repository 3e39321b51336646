"""Batches of a packed split: shuffled, augmented by threads, ready before they are due.

Threads suffice, since OpenCV releases Python's lock; and they need no copies of the
data, no shared memory and no worker start-up.
"""

import os
from collections import deque
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
        self.seed, self.variation = seed, variation
        self.noise = noise_pool(images.shape[1], seed)

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size

    def epoch(self, number: int):
        """Yield ``(images uint8 (B, S, S, C), labels int64 (B,))`` tensors."""
        order = self._order(np.random.default_rng([self.seed, number]))
        rank, world = distributed.rank(), distributed.world_size()
        threads = max(1, len(os.sched_getaffinity(0)) // world)
        with ThreadPoolExecutor(threads) as pool:
            waiting = deque()
            try:
                for batch in range(len(self)):
                    rows = order[
                        batch * self.batch_size : (batch + 1) * self.batch_size
                    ]
                    rows = rows[rank::world]
                    waiting.append(pool.submit(self._make, number, batch, rows))
                    if len(waiting) > 2 * threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:  # an epoch that is left early must not augment to its end
                pool.shutdown(wait=True, cancel_futures=True)

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        if self.chances is None:
            return rng.permutation(len(self.labels))
        return rng.choice(len(self.labels), len(self.labels), p=self.chances)

    def _make(self, epoch: int, batch: int, rows: np.ndarray):
        rng = np.random.default_rng([self.seed, epoch, batch, distributed.rank()])
        images = np.stack(
            [self.vary(self.images[i], rng, self.noise, **self.variation) for i in rows]
        )
        return torch.from_numpy(images), torch.from_numpy(self.labels[rows])


def plain_batches(images: np.ndarray, batch_size: int = 256):
    """Yield ``(B, S, S, C)`` uint8 tensors of a whole split, in order."""
    for start in range(0, len(images), batch_size):
        yield torch.from_numpy(np.array(images[start : start + batch_size]))
