"""From a photograph to its hand: where it is, its points, and a picture of it upright.

The networks are MediaPipe's and stay as they are; nothing here is trained.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from training.hands.crops import cut, square, to_photograph
from training.hands.files import COARSE, LANDMARKS, PALMS
from training.hands.hand import Hand
from training.hands.landmarks import ACTIVATIONS, HandLandmarks, square_around
from training.hands.palms import Look, PalmDetector, look_at
from training.hands.tflite import TFLiteNetwork

# The first look finds hands that fill the photograph, the second small ones and those
# at the edge. The last ones, of which the best counts, find hands in the dark, before
# patterns, and lying on their side. Looks of a row have one size.
LOOKS = (
    [Look(128)],
    [Look(192, border=0.25)],
    [
        Look(192, border=0.25, tone="bright"),
        Look(192, border=0.25, tone="grey"),
        Look(192, border=0.25, turn=-45),
        Look(192, border=0.25, turn=45),
    ],
)
MOST = 1 << 20  # photographs in a batch
LIKELY = 0.2  # score of a palm from which on it is read, after the first look
PICTURE_SIZE = 96  # side of the picture that the letter network sees, pixels
MARGIN = 14  # pixels around it, which training uses to turn and move it
FOUND = 0.5  # presence from which on the hand counts as found
PRESENCE = 4  # where it stands in what `HandReader.read` returns


class Reading(NamedTuple):
    """What is read from N photographs; all float32.

    Attributes:
        hand: A right hand; left ones are mirrored.
        picture: ``(N, 3, P, P)``, whole numbers from 0 to 255: the hand upright and
            mirrored likewise, with MARGIN around it; where no hand was found the whole
            photograph.
        landmarks: ``(N, 21, 3)``, in the photograph: x and y in shares of its width and
            height, z in the same unit, smaller towards the camera.
        presence: ``(N, 1)``, how surely there is a hand, 0 to 1.
        handedness: ``(N, 1)``, how surely it is a right one, 0 to 1.
    """

    hand: Hand
    picture: torch.Tensor
    landmarks: torch.Tensor
    presence: torch.Tensor
    handedness: torch.Tensor


class HandReader(nn.Module):
    """Finds one hand in each photograph and reads its points.

    The palm gives a first square around the hand, the points in that a better one
    (a hand seen from the side or close up needs it), and the points in this count.

    Most hands are found at the first look. Only photographs in which none is found get
    the second one, and after it the last ones, so that these cost little on the whole.

    Args:
        palms: The looks at a photograph, in their order.
        coarse: Reads the points that place the second square: a fast one will do.
        landmarks: Reads the points of a hand.
    """

    def __init__(
        self,
        palms: list[PalmDetector],
        coarse: HandLandmarks,
        landmarks: HandLandmarks,
    ):
        super().__init__()
        self.palms, self.coarse = nn.ModuleList(palms), coarse
        self.landmarks = landmarks
        self.requires_grad_(False).eval()

    @classmethod
    def load(cls, folder: Path) -> "HandReader":
        """Load the networks from a folder that `find_hand_networks` returns."""
        palms = TFLiteNetwork(folder / PALMS)
        return cls(
            palms=[PalmDetector(palms, looks[0].size) for looks in LOOKS],
            coarse=HandLandmarks(TFLiteNetwork(folder / COARSE)),
            landmarks=HandLandmarks(TFLiteNetwork(folder / LANDMARKS, ACTIVATIONS)),
        )

    def forward(self, photographs: torch.Tensor) -> Reading:
        """Read ``(N, S, S, 3)`` uint8 RGB."""
        pixels = photographs.permute(0, 3, 1, 2).float() / 255
        _, shown, frame = look_at(pixels, LOOKS[0][0])
        seen = self.read(pixels, *self.palms[0](shown, frame))
        for number in range(1, len(self.palms)):
            seen = self.look_again(pixels, seen, number)
        landmarks, metres, around, score, presence, handedness, appearance = seen
        whole = square(
            torch.full_like(around[:, :2], 0.5),
            torch.ones_like(around[:, 2]),
            torch.zeros_like(around[:, 3]),
        )
        found = presence > FOUND
        around = torch.where(found, around, whole)
        size = PICTURE_SIZE + 2 * MARGIN
        factor = torch.tensor([1.0, 1.0, size / PICTURE_SIZE, 1.0]).to(around.device)
        picture = cut(pixels, around * factor, size)

        left = found & (handedness < 0.5)
        mirror = torch.where(left, -1.0, 1.0)
        picture = torch.where(left[..., None, None], picture.flip(3), picture)
        hand = Hand(
            points=_mirrored(landmarks[..., :2], mirror),
            metres=_mirrored(metres, mirror),
            turn=around[:, 3:] * mirror,
            sure=torch.cat([score, presence], 1),
            appearance=appearance,
            pixels=torch.ones_like(score),
        )
        # whole numbers, as they are kept in files
        picture = (255 * picture).round()
        return Reading(hand, picture, landmarks, presence, handedness)

    def read(self, pixels, place, score) -> tuple[torch.Tensor, ...]:
        """Read the hands in squares of photographs.

        Args:
            pixels: ``(N, 3, S, S)`` of 0 to 1.
            place: Squares ``(N, 4)`` around palms.
            score: ``(N, 1)``, of these palms.

        Returns:
            Landmarks ``(N, 21, 3)`` in the photograph; points in metres ``(N, 21, 3)``,
            upright as the square ``(N, 4)`` is; score, presence and handedness
            ``(N, 1)``; and the appearance ``(N, 21, CHANNELS)``.
        """
        # half the pixels will do for that, and to cut them out takes time
        crops = cut(pixels, place, self.coarse.size // 2)
        rough, _, handedness, _ = self.coarse(
            nn.functional.interpolate(crops, scale_factor=2.0)
        )
        # the mirror image of a left hand, so that all are seen as right ones
        mirror = torch.where(handedness < 0.5, -1.0, 1.0)
        place = square_around(to_photograph(place, rough[..., :2]))
        crops = cut(pixels, place, self.landmarks.size, mirror)
        points, presence, handedness, metres, appearance = self.landmarks(crops)
        points, metres = _mirrored(points, mirror), _mirrored(metres, mirror)
        handedness = torch.where(mirror < 0, 1 - handedness, handedness)
        inside = to_photograph(place, points[..., :2])
        depth = points[..., 2:] * place[:, None, 2:3]
        landmarks = torch.cat([inside, depth], 2)
        return landmarks, metres, place, score, presence, handedness, appearance

    def look_again(self, pixels, seen, number):
        """Look once more where no hand was found; keep what is surest."""
        rows = torch.nonzero(seen[PRESENCE][:, 0] < FOUND)[:, 0]
        # or the exporter fears four times as many as 64 bits can count
        torch._check(rows.shape[0] <= MOST)
        missed = pixels.index_select(0, rows)
        looks = [look_at(missed, look) for look in LOOKS[number]]
        toned, shown, frame = (torch.cat(parts) for parts in zip(*looks))
        place, score = self.palms[number](shown, frame)
        likely = torch.nonzero(score[:, 0] > LIKELY)[:, 0]
        found = self.read(
            toned.index_select(0, likely),
            place.index_select(0, likely),
            score.index_select(0, likely),
        )
        before = [part.index_select(0, rows) for part in seen]
        # before and, for each look, after; where a palm is unlikely all is as before
        choices = [
            torch.cat([old] * (len(looks) + 1)).index_copy(
                0, rows.shape[0] + likely, new
            )
            for old, new in zip(before, found)
        ]
        surest = choices[PRESENCE].reshape(len(looks) + 1, -1).argmax(0)
        picks = surest * rows.shape[0] + torch.arange(rows.shape[0], device=rows.device)
        return tuple(
            whole.index_copy(0, rows, choice.index_select(0, picks))
            for whole, choice in zip(seen, choices)
        )


def _mirrored(points, mirror):
    return torch.cat([points[..., :1] * mirror[..., None], points[..., 1:]], 2)
