"""Batches of a packed split: shuffled, augmented, and where a fast device would have to
wait for them made by processes before they are due.

Threads would not help: much of augmentation is Python code, and only one thread of a
process runs Python at a time.
"""

import itertools
import mmap
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator

import cv2
import numpy as np
import torch
from torch.multiprocessing import get_context
from torch.utils.data import DataLoader, Dataset

from data_prep.errors import InputError
from data_prep.parallel import cpu_count
from training import distributed
from training.augment import augment, noise_pool

CORES = 4  # of a CPU, that one process can supply
IN_ADVANCE = 3  # batches of a process, in shared memory


class TrainBatches:
    """Endless supply of augmented epochs over ``images`` and ``labels``.

    Batch ``b`` of epoch ``e`` depends on ``(seed, e, b)`` alone, not on processes or on
    what was drawn before, so a resumed run sees what an uninterrupted one would.

    Under ``torchrun`` each process gets its share of every batch.

    Args:
        images: ``(N, S, S, C)`` uint8, an array or memmap.
        labels: ``(N,)`` int64.
        batch_size: Images a batch, two a process at least; an incomplete last batch is
            left out unless it is the only one.
        seed: Of order and augmentation.
        transform: The augmentation, called as `augment` is.
        sample_weights: ``(N,)`` how often each image is to be drawn, relative to the
            others; None draws each once an epoch.
        variation: Further arguments of `transform`: strength, flip.
    """

    def __init__(
        self,
        images,
        labels,
        batch_size: int,
        seed: int,
        transform=augment,
        sample_weights=None,
        **variation,
    ):
        self.images, self.labels, self.transform = images, labels, transform
        self.chances = (
            None if sample_weights is None else sample_weights / sample_weights.sum()
        )
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
        """Batches an epoch."""
        return len(self.labels) // self.batch_size

    def from_epoch(self, first: int, device: torch.device) -> Generator:
        """Yield the batches of epoch ``first`` and all that follow, without an end.

        Args:
            device: That waits for them.

        Yields:
            ``(images uint8 (B, S, S, C), labels int64 (B,))`` tensors, in the CPU's
            memory.
        """
        size = self.batch_size * self.images[0].nbytes
        processes = processes_in_advance(device, size)
        return in_advance(self.make, self.plan(first), processes)

    def plan(self, first: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield epoch, number in it, and rows, of one batch after the other."""
        for epoch in itertools.count(first):
            order = self._order(np.random.default_rng([self.seed, epoch]))
            for batch in range(len(self)):
                start = batch * self.batch_size
                yield epoch, batch, order[start : start + self.batch_size]

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        if self.chances is None:
            return rng.permutation(len(self.labels))
        return rng.choice(len(self.labels), len(self.labels), p=self.chances)

    def make(self, planned: tuple[int, int, np.ndarray]):
        """Make the batch of one item of `plan`."""
        epoch, batch, rows = planned
        rank, world = distributed.rank(), distributed.world_size()
        rows = rows[rank::world]
        rng = np.random.default_rng([self.seed, epoch, batch, rank])
        images = np.stack(
            [
                self.transform(self.images[i], rng, self.noise, **self.variation)
                for i in rows
            ]
        )
        return torch.from_numpy(images), torch.from_numpy(self.labels[rows])

    def __getstate__(self) -> dict:
        state = self.__dict__.copy()
        # a process opens the file, instead of getting gigabytes sent
        if isinstance(getattr(self.images, "base", None), mmap.mmap):
            state["images"] = _File(self.images)
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if isinstance(self.images, _File):
            self.images = self.images.open()


class _File:
    """Where a whole memory map lies."""

    def __init__(self, array: np.memmap):
        self.place = array.filename, array.dtype, "r", array.offset, array.shape

    def open(self) -> np.memmap:
        return np.memmap(*self.place)


def processes_in_advance(device: torch.device, batch_bytes: int) -> int:
    """How many processes should make batches while the device computes; 0 is none.

    On a CPU of two cores they would only take these from OpenMP's threads, all of
    which wait for the slowest: 615 instead of 690 images/s (small_resnet, views).

    Args:
        device: That is to be kept busy.
        batch_bytes: Size of a batch. They wait in shared memory, of which a container
            may have little.
    """
    cores = cpu_count() // distributed.world_size()
    if device.type == "cpu":
        wanted = 0 if cores <= 2 else max(1, cores // CORES)
    else:
        wanted = max(1, cores)
    if os.path.isdir("/dev/shm"):
        room = shutil.disk_usage("/dev/shm").free // distributed.world_size()
        wanted = min(wanted, room // (2 * IN_ADVANCE * batch_bytes))
    return wanted


def in_advance(make: Callable, plans: Iterable, processes: int) -> Generator:
    """Yield ``make(plan)`` of each plan, in order; made before they are due.

    Args:
        make: Can be pickled, and returns tensors.
        plans: May have no end.
        processes: 0 makes each when it is asked for.
    """
    if not processes:
        yield from map(make, plans)
        return
    # Not forked from here: this process may run CUDA, and ClearML's threads. Nor
    # spawned: each would import torch before the next is started.
    context = get_context("forkserver")
    context.set_forkserver_preload(["torch.utils.data", "cv2"])
    loader = DataLoader(
        _Made(make),
        batch_size=None,
        sampler=plans,
        num_workers=processes,
        prefetch_factor=IN_ADVANCE,
        multiprocessing_context=context,
        worker_init_fn=_start,
        pin_memory=torch.cuda.is_available(),
    )
    yield from loader


class _Made(Dataset):
    def __init__(self, make: Callable):
        self.make = make

    def __getitem__(self, plan):
        return self.make(plan)


def _start(number: int) -> None:
    cv2.setNumThreads(1)  # the processes fill the cores already


def plain_batches(images: np.ndarray, batch_size: int = 256):
    """Yield ``(B, S, S, C)`` uint8 tensors of a whole split, in order."""
    for start in range(0, len(images), batch_size):
        yield torch.from_numpy(np.array(images[start : start + batch_size]))
