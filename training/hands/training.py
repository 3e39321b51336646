"""One training of the hand model, from photographs to `Letters`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data_prep.errors import InputError
from data_prep.progress import Progress
from training import distributed
from training.hands.bent_hands import bend_hands
from training.hands.held_out_signers import fold_count, leave_sources_out
from training.hands.letters import (
    GeometryNetwork,
    Hands,
    predict_probabilities,
    train_geometry_network,
)
from training.hands.model import GEOMETRY, WORTH_ASKING, Letters
from training.hands.pictures import inner
from training.hands.reader_graph import reader_graph
from training.hands.readings import Readings, read_photographs
from training.loop import predict

GEOMETRY_FILE = "geometry.pt"  # state dict of the geometry network, and temperature
BENT = 200  # bent hands a class
STEPS, FOLD_STEPS = 1500, 600  # of the geometry network, of 256 hands each


@dataclass(frozen=True)
class HandTraining:
    """What is known before the network of pixels is trained.

    Attributes:
        readings: By split: "train", "val", "test".
        geometry: The trained network.
        temperature: Of its answers.
        held_out: As `leave_sources_out` returns them; None with one source.
        val_labels: ``(N,)`` int64.
    """

    readings: dict[str, Readings]
    val_labels: np.ndarray
    geometry: GeometryNetwork
    temperature: float
    held_out: dict | None

    def letters(self, pixels: torch.nn.Module) -> Letters:
        """The model with a trained classifier of pictures, weighed by what it is worth
        on the validation split."""
        val = self.readings["val"]
        pixels_right, shape_right = (
            (probabilities.argmax(1) == self.val_labels).mean()
            for probabilities in (
                predict(pixels, inner(val.pictures)),
                predict_probabilities(self.geometry, val.rows),
            )
        )
        share = GEOMETRY if pixels_right >= WORTH_ASKING * shape_right else 1.0
        return Letters(self.geometry, pixels, self.temperature, share)

    def save(self, pixels: torch.nn.Module, out: Path) -> Letters:
        """Make the model and write GEOMETRY_FILE, all of it but the pixels' weights."""
        letters = self.letters(pixels)
        state = {
            "network": {k: v.cpu() for k, v in self.geometry.state_dict().items()},
            "temperature": self.temperature,
            "share": float(letters.share),
        }
        torch.save(state, out / GEOMETRY_FILE)
        return letters


def train_geometry(
    splits: dict[str, tuple[np.ndarray, np.ndarray]],
    sources: dict[str, list[str]],
    classes: list[str],
    networks: str,
    seed: int,
    device: torch.device,
    share_of_steps: float = 1.0,
    report: Callable[[str], None] = print,
) -> HandTraining:
    """Read all photographs, and learn letters from the geometry of their hands.

    Args:
        splits: Photographs ``(N, S, S, 3)`` uint8 and labels ``(N,)``, by split.
        sources: Whose photographs they are, by split.
        classes: Names of the labels.
        networks: Folder of the hand networks; "" for the fetched ones.
        seed: Of all that is random.
        device: To train on.
        share_of_steps: Below 1 to try the code.
        report: Told what goes on.
    """
    graph = reader_graph(networks, splits["train"][0].shape[1])
    readings = None
    if distributed.rank() == 0:  # the others find what it has kept
        readings = _read_splits(splits, graph)
    distributed.share(None)
    readings = readings or _read_splits(splits, graph)
    state, held_out = None, None
    if distributed.rank() == 0:
        known = {
            name: Hands(
                rows=readings[name].rows,
                labels=labels,
                sources=np.array(sources[name], dtype=object),
            )
            for name, (_, labels) in splits.items()
        }
        steps, fold_steps = (
            max(1, int(share_of_steps * count)) for count in (STEPS, FOLD_STEPS)
        )
        everybody = known["train"] + known["val"] + known["test"]
        folds = fold_count(everybody.sources)
        bent = bend_hands(
            classes,
            max(1, int(BENT * share_of_steps)),
            seed,
            of_signers=not folds,
        )
        what = "learning letters from the geometry of hands"
        report(what)
        all_steps = steps + folds * fold_steps
        with (
            Progress(what, all_steps, "steps") as progress,
            ThreadPoolExecutor(1) as pool,  # beside those without each signer
        ):
            network = pool.submit(
                train_geometry_network,
                known["train"] + bent,
                len(classes),
                seed,
                steps,
                device=device,
                progress=progress,
            )
            without = leave_sources_out(
                everybody, bent, len(classes), seed, fold_steps, device, progress
            )
        held_out, temperature = without or (None, 1.0)
        state = {
            "network": {k: v.cpu() for k, v in network.result().state_dict().items()},
            "temperature": temperature,
        }
    state = distributed.share(state)
    return HandTraining(
        readings=readings,
        val_labels=splits["val"][1],
        geometry=_network(state, len(classes)).to(device),
        temperature=state["temperature"],
        held_out=held_out,
    )


def _read_splits(splits, graph) -> dict[str, Readings]:
    return {
        name: read_photographs(images, graph, f"read hands of {name}")
        for name, (images, _) in splits.items()
    }


def _network(state: dict, classes: int) -> GeometryNetwork:
    network = GeometryNetwork(classes)
    network.load_state_dict(state["network"])
    return network.eval().requires_grad_(False)


def load_letters(run: Path, classes: int, pixels: torch.nn.Module) -> Letters:
    """Load what a training left.

    Args:
        run: Its folder.
        classes: Number of letters.
        pixels: Its classifier of pictures.

    Raises:
        InputError: GEOMETRY_FILE is missing or damaged.
    """
    try:
        state = torch.load(run / GEOMETRY_FILE, map_location="cpu", weights_only=True)
        network = _network(state, classes)
    except Exception as error:
        raise InputError(
            f"{run / GEOMETRY_FILE} cannot be read ({' '.join(str(error).split())[:80]}"
            "); give the complete results of a training"
        ) from None
    return Letters(network, pixels, state["temperature"], state["share"])
