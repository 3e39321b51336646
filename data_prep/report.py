"""Pictures for reports: a mosaic of images."""

from pathlib import Path
from typing import Mapping, Sequence

import cv2
import numpy as np

TILE = 64  # pixels
MARGIN = 120  # pixels, for the names on the left


def mosaic(rows: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
    """Lay images out in a row for each name.

    Args:
        rows: Name and its uint8 ``(h, w, 3)`` RGB images.

    Returns:
        uint8 ``(H, W, 3)`` RGB; white where there are no images.
    """
    columns = max((len(images) for images in rows.values()), default=0)
    height = TILE * max(1, len(rows))
    canvas = np.full((height, MARGIN + TILE * columns, 3), 255, np.uint8)
    for row, (name, images) in enumerate(rows.items()):
        y = row * TILE
        text = name if name.isascii() else ascii(name)[1:-1]
        origin = (4, y + TILE // 2 + 5)
        cv2.putText(canvas, text[:14], origin, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0))
        for column, image in enumerate(images):
            x = MARGIN + column * TILE
            canvas[y : y + TILE, x : x + TILE] = cv2.resize(
                image, (TILE, TILE), interpolation=cv2.INTER_AREA
            )
    return canvas


def write_png(path: Path, rgb: np.ndarray) -> None:
    _, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    path.write_bytes(data.tobytes())
