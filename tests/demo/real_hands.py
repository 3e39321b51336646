"""A hand model of some real people, learned in seconds, and a film of another one."""

from pathlib import Path

import cv2
import numpy as np
import torch
from drawn_model import HEIGHT, WIDTH, film

from data_prep.drawing.hand_poses import CLASSES, NOTHING
from data_prep.preprocessing import FILE_NAME, Preprocessing
from training.export import export_onnx
from training.hands.bent_hands import bend_hands
from training.hands.letters import Hands, train_geometry_network
from training.hands.model import HandModel, Letters
from training.hands.reader_graph import reader_graph
from training.hands.readings import read_photographs

RECORD = Preprocessing(image_size=256, resize_mode="letterbox")
BENT, STEPS = 40, 400  # bent hands a letter; steps of learning
HELD, REST = 0.5, 1.6  # seconds
LETTERS = sorted(CLASSES)


class NoHand(torch.nn.Module):
    """What is said of photographs in which no hand was found: nothing."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        says = torch.tensor([float(name == NOTHING) for name in LETTERS])
        return says.expand(pictures.shape[0], -1)


def make_artifacts(folder: Path, people: list[Path]) -> Path:
    """Leave what a training would, of a few frames a letter of each of some people."""
    files = [  # of eight frames the first, fourth and seventh
        (letter, person.name, file)
        for person in people
        for letter in LETTERS
        for file in sorted((person / letter).glob("*.jpg"))[::3]
    ]
    images = np.stack([RECORD.apply(file.read_bytes()) for _, _, file in files])
    hands = Hands(
        rows=read_photographs(images, reader_graph(), "read hands").rows,
        labels=np.array([LETTERS.index(letter) for letter, _, _ in files]),
        sources=np.array([person for _, person, _ in files], dtype=object),
    )
    network = train_geometry_network(
        hands + bend_hands(LETTERS, BENT, 0), len(LETTERS), seed=0, steps=STEPS
    )
    model = HandModel.load(Letters(network, NoHand(), share=1.0))
    folder.mkdir(parents=True)
    golden = images[:: len(images) // 4]
    probabilities = export_onnx(model, folder / "model.onnx", golden, {})
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in LETTERS))
    RECORD.save(folder / FILE_NAME)
    np.savez(folder / "golden.npz", images=golden, probabilities=probabilities)
    return folder


def text_film(path: Path, person: Path, text: str) -> Path:
    """A film of a person who spells: of each letter several frames, HELD seconds each,
    and grey before and between equal letters."""
    grey, shown = np.full((360, 480, 3), 128, np.uint8), []
    for before, letter in zip(f"{text[0]}{text}", text):
        shown += [(grey, REST)] * (letter == before)
        files = sorted((person / letter).glob("*.jpg"))[::2]
        shown += [(cv2.imread(str(file)), HELD) for file in (*files, files[0])]
    return film(path, shown, look=_seen)


def _seen(photograph: np.ndarray) -> np.ndarray:
    """``(HEIGHT, WIDTH, 3)``: the photograph in the middle, its edges repeated."""
    share = min(HEIGHT / photograph.shape[0], WIDTH / photograph.shape[1])
    small = cv2.resize(
        photograph, None, fx=share, fy=share, interpolation=cv2.INTER_AREA
    )[:HEIGHT, :WIDTH]
    tall, wide = HEIGHT - small.shape[0], WIDTH - small.shape[1]
    return cv2.copyMakeBorder(
        small,
        top=tall // 2,
        bottom=tall - tall // 2,
        left=wide // 2,
        right=wide - wide // 2,
        borderType=cv2.BORDER_REPLICATE,
    )
