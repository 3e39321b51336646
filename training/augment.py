"""Random variation of training images: one warp, one table, blur, noise, cutout.

Written directly on OpenCV because it is the costliest step beside the network: one
affine warp stands for rotation, scale and shift, and one lookup table for gain, bias,
gamma and colour. Images are mirrored only on request: it turns a right hand into a
left one.
"""

import cv2
import numpy as np

ROTATION = 20.0  # degrees, either way
SCALE = (0.8, 1.25)
SHIFT = 0.10  # share of the side, either way
_RAMP = np.arange(256, dtype=np.float32) / 255


def noise_pool(size: int, seed: int, count: int = 16) -> np.ndarray:
    """Ready-made sensor noise, ``(count, size, size, 3)`` int8: drawing it anew for
    every image would cost more than the rest of the augmentation together."""
    rng = np.random.default_rng([seed, 1])
    grain = rng.normal(0, 7, (count, size, size, 3))
    return np.clip(grain, -127, 127).astype(np.int8)


def augment(
    image: np.ndarray,
    rng: np.random.Generator,
    noise: np.ndarray,
    strength: float = 1.0,
    flip: bool = False,
) -> np.ndarray:
    """Vary one image.

    Args:
        image: ``(S, S, 3)`` uint8 RGB; left unchanged.
        rng: Source of all randomness.
        noise: From `noise_pool`, of the same size.
        strength: Factor on all ranges and probabilities; 0 leaves images alone.
        flip: Mirror it in half of the cases.

    Returns:
        ``(S, S, 3)`` uint8 RGB.
    """
    size = image.shape[0]
    u = rng.random(20)  # one draw for all choices: calls cost more than numbers

    angle = (2 * u[0] - 1) * ROTATION * strength
    scale = (SCALE[0] * (SCALE[1] / SCALE[0]) ** u[1]) ** strength
    matrix = cv2.getRotationMatrix2D((size / 2 - 0.5, size / 2 - 0.5), angle, scale)
    matrix[:, 2] += (2 * u[2:4] - 1) * SHIFT * strength * size
    if flip and u[19] < 0.5:  # x -> size - 1 - x, as part of the same warp
        matrix[0] = -matrix[0]
        matrix[0, 2] += size - 1
    image = cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )

    gamma = 2 ** ((2 * u[4] - 1) * 0.5 * strength)
    gain = 1 + (2 * u[5] - 1) * 0.3 * strength
    bias = (2 * u[6] - 1) * 0.12 * strength
    colour = gain * (1 + (2 * u[7:10] - 1) * 0.1 * strength)
    table = (_RAMP**gamma)[:, None] * colour + bias
    table = np.clip(table * 255, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table.reshape(1, 256, 3))

    if u[10] < 0.2 * strength:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 + 1.0 * u[11])
    if u[12] < 0.3 * strength:
        grain = noise[int(u[13] * len(noise))]
        image = cv2.add(image, grain, dtype=cv2.CV_8U)
    if u[14] < 0.4 * strength:
        side = (0.1 + 0.2 * u[15]) * size
        x, y = u[16] * (size - side), u[17] * (size - side)
        grey = int(255 * u[18])
        x0, y0, x1, y1 = int(x), int(y), int(x + side), int(y + side)
        image[y0:y1, x0:x1] = grey
    return image
