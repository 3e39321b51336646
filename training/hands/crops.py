"""Turned squares of a photograph: where they lie, and their pixels.

A square is ``(N, 4)`` float32: the centre (x, y), the side, and the turn in radians.
Lengths are shares of the photograph's side, x to the right and y down. A turn of 0 has
the fingers upwards; it grows clockwise, as the picture shows it.
"""

import math

import torch

PARTS = 16  # of a pixel: squares are cut out to this precision
SPACED = 2.0**16  # from channel to channel in a packed pixel


def square(centre, side, turn) -> torch.Tensor:
    """Put a square together from ``(N, 2)``, ``(N,)`` and ``(N,)``."""
    return torch.cat([centre, side[:, None], turn[:, None]], 1)


def turn_between(base: torch.Tensor, tip: torch.Tensor) -> torch.Tensor:
    """The turn that brings the way from base to tip upright; points are ``(N, 2)``."""
    way = tip - base
    return math.pi / 2 - torch.atan2(-way[:, 1], way[:, 0])


def to_photograph(squares: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Take points from a square to the photograph.

    Args:
        squares: ``(N, 4)``.
        points: ``(N, K, 2)``, -0.5 to 0.5 from edge to edge of the square.

    Returns:
        ``(N, K, 2)``, 0 to 1 from edge to edge of the photograph.
    """
    cos, sin = torch.cos(squares[:, 3:]), torch.sin(squares[:, 3:])
    x, y = points[..., 0], points[..., 1]
    turned = torch.stack([x * cos - y * sin, x * sin + y * cos], 2)
    return turned * squares[:, None, 2:3] + squares[:, None, :2]


def pack(photographs: torch.Tensor) -> torch.Tensor:
    """Put each pixel of ``(N, 3, S, S)`` float32 of 0..1 into one number, as `cut`
    takes them: ``(N, S, S)`` float64, with 8 bits a channel and 8 bits between."""
    red, green, blue = (255 * photographs).round().double().unbind(1)
    return red + SPACED * green + SPACED**2 * blue


def cut(
    packed: torch.Tensor,
    squares: torch.Tensor,
    size: int,
    mirror: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cut squares out, bilinearly; beyond the edges the last pixels are repeated.

    Places are rounded to a sixteenth of a pixel. So the weights of pixels are whole
    numbers, and three channels are added up as one number without touching each other.
    This takes a third of the time of ONNX Runtime's GridSample.

    Args:
        packed: ``(N, S, S)``, from `pack`.
        squares: ``(N, 4)``.
        size: Side of the result, pixels.
        mirror: ``(N, 1)``, -1 for those of which the mirror image is wanted, else 1.

    Returns:
        ``(N, 3, size, size)`` float32 of 0..1.
    """
    side = packed.shape[1]
    steps = (torch.arange(size, device=squares.device) + 0.5) / size - 0.5
    cos = (torch.cos(squares[:, 3]) * squares[:, 2])[:, None, None]
    sin = (torch.sin(squares[:, 3]) * squares[:, 2])[:, None, None]
    across, down = steps[None, None, :], steps[None, :, None]
    if mirror is not None:
        across = across * mirror[..., None]
    x = across * cos - down * sin + squares[:, 0, None, None]
    y = across * sin + down * cos + squares[:, 1, None, None]
    x, y = (torch.round(PARTS * (a * side - 0.5).clamp(0, side - 1)) for a in (x, y))
    left, top = (torch.floor(a / PARTS).clamp(max=side - 2) for a in (x, y))
    right_share, low_share = (x - PARTS * left).double(), (y - PARTS * top).double()
    places, pixels = (top * side + left).long().flatten(1), packed.flatten(1)

    def pixel(down, right):
        return pixels.gather(1, places + (down * side + right)).reshape(x.shape)

    high, low = (
        (PARTS - right_share) * pixel(row, 0) + right_share * pixel(row, 1)
        for row in (0, 1)
    )
    mixed = (PARTS - low_share) * high + low_share * low
    blue = torch.floor(mixed / SPACED**2)
    mixed = mixed - SPACED**2 * blue
    green = torch.floor(mixed / SPACED)
    red = mixed - SPACED * green
    return torch.stack([red, green, blue], 1).float() / (255 * PARTS**2)
