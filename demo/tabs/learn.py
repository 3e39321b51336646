"""The tab Learn: the chart of all signs, drawn here, and what tells each apart."""

import asyncio
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from data_prep.drawing.hand_model import pose_hand, render
from data_prep.drawing.hand_poses import CLASSES, NOTHING, POSES
from demo.movements import MOVEMENTS

SIDE = 240  # pixels of a drawing
SKIN = np.array([132, 168, 222], np.float32)  # BGR
# How each sign is made, in words that tell it from those that look like it.
HOW = {
    "A": "a fist, the thumb upright beside the index finger",
    "B": "a flat hand, the fingers together, the thumb folded across the palm",
    "C": "the fingers and the thumb curved, as around a cup",
    "D": "the index finger up, the others meet the thumb in a ring",
    "E": "the fingers bent down to the thumb, which lies under their tips",
    "F": "thumb and index finger meet in a ring, the other three are spread",
    "G": "index finger and thumb point sideways, a small gap between them",
    "H": "index and middle finger together point sideways",
    "I": "a fist, the little finger up",
    "J": "the little finger up as for I; it writes a J: down, and round to the side",
    "K": "index and middle finger up in a V, the thumb between them",
    "L": "the index finger up and the thumb out, an L",
    "M": "the thumb under three fingers",
    "N": "the thumb under two fingers",
    "O": "all fingertips meet the thumb, a round O",
    "P": "as K, but pointing downwards",
    "Q": "as G, but pointing downwards",
    "R": "index and middle finger crossed",
    "S": "a fist, the thumb across the fingers",
    "T": "a fist, the thumb between index and middle finger",
    "U": "index and middle finger up, together",
    "V": "index and middle finger up, apart",
    "W": "three fingers up, apart",
    "X": "the index finger bent to a hook",
    "Y": "thumb and little finger out",
    "Z": "the index finger points and writes a Z in the air",
    "del": "the flat hand, palm down, points to the side",
    "nothing": "no hand in the picture",
    "space": "the open hand, palm up, as if it carried something",
}


class _Mean:
    """A generator of random numbers that are all as expected: the pose by the book."""

    def uniform(self, low, high, size=None):
        return self.normal((low + high) / 2, 0, size)

    def normal(self, mean, deviation, size=None):
        return mean if size is None else np.full(size, mean, float)


async def signs(request: Request):
    """What the page needs to know of each sign."""
    strokes = {movement.letter: movement.strokes[0] for movement in MOVEMENTS}
    return JSONResponse(
        [
            {"sign": sign, "how": HOW[sign], "stroke": strokes.get(sign)}
            for sign in CLASSES
        ]
    )


async def drawing(request: Request):
    """A sign from the front, or as the signer sees it."""
    sign, side = request.path_params["letter"], request.path_params["side"]
    if sign not in CLASSES or side not in ("front", "signer"):
        return PlainTextResponse("there is no such drawing\n", 404)
    png = await asyncio.to_thread(draw, sign, side == "signer")
    return Response(
        png, media_type="image/png", headers={"cache-control": "max-age=600"}
    )


@lru_cache(maxsize=2 * len(CLASSES))
def draw(sign: str, signer: bool) -> bytes:
    """A PNG with transparency of a right hand that makes a sign.

    Args:
        signer: As the signer sees it; otherwise as the one who reads it.
    """
    if sign == NOTHING:
        return _png(np.zeros((SIDE, SIDE, 4), np.uint8))
    pose = POSES[sign]
    if signer:  # the same hand from behind
        pose = replace(
            pose, turn=pose.turn + 180, roll=-pose.roll, forearm=-pose.forearm
        )
    hand = pose_hand(pose, _Mean())
    left, bottom, right, top = hand.bounds()
    scale = 0.8 * SIDE / max(right - left, top - bottom, 150)
    centre = (
        SIDE / 2 - scale * (left + right) / 2,
        SIDE / 2 + scale * (bottom + top) / 2,
    )
    relief = render(hand, SIDE, scale, centre)
    depth = np.where(relief.mask > 0, relief.depth, relief.depth[relief.mask > 0].min())
    depth = cv2.GaussianBlur(depth, (0, 0), 1)
    gx, gy = np.gradient(depth, axis=1), np.gradient(depth, axis=0)
    light = (0.8 - 0.35 * gx - 0.45 * gy) / np.sqrt(1 + gx * gx + gy * gy)
    furrow = np.clip((cv2.blur(depth, (15, 15)) - depth) / (9 * scale), 0, 1)
    shade = (0.45 + 0.6 * np.clip(light, 0, 1)) * (1 - 0.5 * furrow) * relief.albedo
    colour = np.clip(shade[..., None] * SKIN, 0, 255)
    cover = 255 * cv2.GaussianBlur(relief.mask, (3, 3), 0.7)[..., None]
    return _png(np.concatenate([colour, cover], 2).astype(np.uint8))


def _png(picture) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()
