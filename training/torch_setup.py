"""Three corrections that torch needs in this repository and on small machines."""

import ctypes
import importlib.util
import sys


def hide_foreign_triton() -> None:
    """Keep torch from taking our folder ``triton/`` for the compiler of that name.

    On machines without that library, ``import triton`` finds the folder at the root
    of this repository as a namespace package, and torch then fails as soon as an
    optimizer is made. Marking the name as absent is what torch expects there. Where
    the real library is installed it is found first, and nothing is changed.
    """
    if "triton" in sys.modules:
        return
    spec = importlib.util.find_spec("triton")
    if spec is not None and spec.origin is None:
        sys.modules["triton"] = None  # type: ignore[assignment]


def import_torchvision():
    """Import torchvision, also where its build does not match a CPU-only torch.

    The registry's torchvision is built for CUDA; beside a CPU build of torch its
    import stops at two operators that classification never calls. They are declared
    here, without an implementation, and the import is repeated.

    Returns:
        The torchvision module.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        import torch

        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(
                f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        import torchvision

        torchvision._declared_operators = library  # must outlive the import
    return torchvision


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of giving each back to the kernel.

    Every activation is such a block; page faults for them cost 5 to 60 % of a
    training step on a CPU. No effect where the C library is not glibc.
    """
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # <malloc.h>
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 64 << 20)
    except (OSError, AttributeError):
        pass
