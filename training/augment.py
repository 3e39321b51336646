"""Random variation of training images: one warp, one table, blur, noise, cutout.

Written directly on OpenCV because it is the costliest step beside the network: one
affine warp stands for rotation, scale and shift, and one lookup table for gain, bias,
gamma and colour. Images are mirrored only on request: it turns a right hand into a
left one.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

ROTATION = 20.0  # degrees, either way
SCALE = (0.8, 1.25)
SHIFT = 0.10  # share of the side, either way
_RAMP = np.arange(256, dtype=np.float32) / 255


@dataclass(frozen=True)
class Light:
    """How far brightness and colour may change; see `recolour`.

    Attributes:
        gamma: Exponent 2**±gamma.
        gain: Factor 1 ± gain.
        bias: Share of full brightness, either way.
        tint: Factor 1 ± tint of each channel by itself.
        grey: Probability of losing all colour.
        saturation: Probability of more or less colour.
    """

    gamma: float
    gain: float
    bias: float
    tint: float
    grey: float = 0.0
    saturation: float = 0.0

    def times(self, strength: float) -> "Light":
        return Light(*(strength * value for value in vars(self).values()))


SAME_ROOM = Light(0.5, 0.3, 0.12, 0.1)
OTHER_ROOMS = Light(0.9, 0.35, 0.15, 0.2, 0.12, 0.3)


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
    scale = (SCALE[0] ** strength, SCALE[1] ** strength)
    matrix = random_affine(
        rng, size, ROTATION * strength, scale, SHIFT * strength, mirror=flip / 2
    )
    image = cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
    return roughen(
        recolour(image, rng, SAME_ROOM.times(strength)), rng, noise, strength
    )


def random_affine(
    rng: np.random.Generator,
    size: int,
    rotation: float,
    scale: tuple[float, float],
    shift: float,
    shear: float = 0.0,
    stretch: float = 0.0,
    mirror: float = 0.0,
) -> np.ndarray:
    """Draw a map of a square image onto itself, ``(2, 3)`` float64, for warpAffine.

    Args:
        size: Side, pixels.
        rotation: Degrees, either way.
        scale: Least and largest factor; its logarithm is uniform.
        shift: Share of the side, either way.
        shear: Pixels sideways a pixel down, either way.
        stretch: Logarithm of the factor by which width and height differ, either way.
        mirror: Probability of swapping left and right.
    """
    # plain numbers: arrays as small as these take three times as long
    u = rng.random(8).tolist()
    angle = math.radians((2 * u[0] - 1) * rotation)
    factor = scale[0] * (scale[1] / scale[0]) ** u[1]
    wider = math.exp((2 * u[2] - 1) * stretch)
    cos, sin = factor * math.cos(angle), factor * math.sin(angle)
    lean = (2 * u[3] - 1) * shear
    side = -1 if u[4] < mirror else 1
    xx, xy = side * cos * wider, (cos * lean + sin) / wider
    yx, yy = -side * sin * wider, (cos - sin * lean) / wider
    middle = size / 2 - 0.5
    x = middle * (1 - xx - xy) + (2 * u[5] - 1) * shift * size
    y = middle * (1 - yx - yy) + (2 * u[6] - 1) * shift * size
    return np.array([[xx, xy, x], [yx, yy, y]])


def recolour(image: np.ndarray, rng: np.random.Generator, light: Light) -> np.ndarray:
    """Change gain, bias, gamma, tint and, at times, saturation of uint8 RGB."""
    u = rng.random(8).tolist()
    gamma = 2 ** ((2 * u[0] - 1) * light.gamma)
    gain = 255 * (1 + (2 * u[1] - 1) * light.gain)
    tint = [gain * (1 + (2 * v - 1) * light.tint) for v in u[2:5]]
    bias = 255 * (2 * u[5] - 1) * light.bias
    table = (_RAMP**gamma)[:, None] * np.array(tint, np.float32) + np.float32(bias)
    table = np.minimum(np.maximum(table, 0), 255).astype(np.uint8)
    image = cv2.LUT(image, table[None])
    if u[6] < light.grey + light.saturation:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        colour = 0.0 if u[6] < light.grey else 1.6 * u[7]
        image = cv2.addWeighted(image, colour, grey, 1 - colour, 0)
    return image


def roughen(
    image: np.ndarray,
    rng: np.random.Generator,
    noise: np.ndarray,
    strength: float = 1.0,
    cutout: float = 0.4,
) -> np.ndarray:
    """Blur, add noise and hide a square, each with a probability; changes ``image``."""
    size = image.shape[0]
    u = rng.random(9).tolist()
    if u[0] < 0.2 * strength:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 + 1.0 * u[1])
    if u[2] < 0.3 * strength:
        image = cv2.add(image, noise[int(u[3] * len(noise))], dtype=cv2.CV_8U)
    if u[4] < cutout * strength:
        side = (0.1 + 0.2 * u[5]) * size
        x, y = u[6] * (size - side), u[7] * (size - side)
        image[int(y) : int(y + side), int(x) : int(x + side)] = int(255 * u[8])
    return image
