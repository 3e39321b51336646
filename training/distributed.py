"""Several processes on one training, as ``torchrun`` starts them; one without it."""

import os
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from data_prep.errors import InputError


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Number of this process; 0 does what must be done once."""
    return int(os.environ.get("RANK", 0))


@contextmanager
def process_group():
    """Join the other processes of ``torchrun``; does nothing without it.

    Raises:
        InputError: There are more processes than GPUs.
    """
    if world_size() == 1:
        yield
        return
    if torch.cuda.is_available():
        on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        check_gpus(torch.cuda.device_count(), on_this_machine)
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # rank 0 downloads the dataset and reads the photographs while the others wait
    dist.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=12)
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def check_gpus(gpus: int, processes: int) -> None:
    """Raise InputError where processes on one machine would have to share a GPU, which
    NCCL cannot."""
    if processes > gpus:
        raise InputError(
            f"torchrun started {processes} processes on a machine with {gpus} GPU"
            f"{'s' * (gpus != 1)}; use --nproc-per-node {gpus}, or hide the GPUs with "
            "CUDA_VISIBLE_DEVICES= in front of the command"
        )


def share(value):
    """Give every process the value that rank 0 has: anything that can be pickled."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def parallel(module: torch.nn.Module) -> torch.nn.Module:
    """Average gradients over the processes in each backward pass."""
    if not dist.is_initialized():
        return module
    device = next(module.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(module, device_ids=ids)
