"""The hand model: from a photograph to the letter, in one graph.

A photograph is read once (`HandReader`). Two networks then look at the hand: one at its
geometry, which holds for people never seen, and one at its picture, which tells more
apart where hands and rooms are those of the training, and sees the whole photograph
where no hand was found. Their probabilities are averaged.
"""

import warnings

import numpy as np
import onnx
import torch
from torch import nn

from training.hands.files import find_hand_networks
from training.hands.hand import pack, unpack
from training.hands.letters import GeometryNetwork
from training.hands.pictures import inner, to_batch
from training.hands.reader import FOUND, HandReader
from training.hands.reader_graph import OPSET, OUTPUTS, reader_graph
from training.hands.readings import Readings

# Share of the geometry in the answer: where a hand was found, and where none was.
GEOMETRY, GEOMETRY_UNSEEN = 0.6, 0.2
# Pixels are asked about hands that were found only if their own accuracy reaches this
# part of the geometry's: after few epochs they would only blur its answers.
WORTH_ASKING = 0.9
BATCH_SIZE = 256


class Letters(nn.Module):
    """What was read of photographs -> probabilities ``(N, classes)``.

    Args:
        geometry: Of `train_geometry_network`.
        pixels: A classifier of pictures (training/network.py).
        temperature: Divides the geometry's logits (Guo et al. 2017), so that it is as
            sure of people it has never seen as it is right.
        share: Of the geometry in the answer, where a hand was found.
    """

    def __init__(
        self,
        geometry: GeometryNetwork,
        pixels: nn.Module,
        temperature: float = 1.0,
        share: float = GEOMETRY,
    ):
        super().__init__()
        self.geometry, self.pixels = geometry, pixels
        self.register_buffer("temperature", torch.tensor(float(temperature)))
        self.register_buffer("share", torch.tensor(float(share)))

    def forward(self, rows: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        """Take rows ``(N, NUMBERS)`` and pictures ``(N, 3, P, P)``."""
        return self.mix(rows, to_batch(picture))

    def mix(self, rows, pictures):
        hand = unpack(rows)
        found = hand.sure[:, 1:] > FOUND
        share = torch.where(found, self.share, GEOMETRY_UNSEEN)
        by_shape = (self.geometry(hand) / self.temperature).softmax(1)
        return share * by_shape + (1 - share) * self.pixels(pictures)

    def predict_probabilities(self, readings: Readings) -> np.ndarray:
        """Probabilities ``(N, classes)`` float32 of photographs that were read."""
        device = next(self.parameters()).device
        self.eval()
        parts = []
        with torch.inference_mode():
            for start in range(0, len(readings), BATCH_SIZE):
                here = slice(start, start + BATCH_SIZE)
                rows = torch.from_numpy(readings.rows[here])
                pictures = torch.from_numpy(inner(np.array(readings.pictures[here])))
                parts.append(self.mix(rows.to(device), pictures.to(device)).cpu())
        return torch.cat(parts).numpy()


class HandModel(nn.Module):
    """``(N, S, S, 3)`` uint8 photographs -> probabilities, landmarks, hand and
    handedness: what is exported and served (docs in `Reading`)."""

    def __init__(self, reader: HandReader, letters: Letters, networks: str = ""):
        super().__init__()
        self.reader, self.letters, self.networks = reader, letters, networks

    @classmethod
    def load(cls, letters: Letters, networks: str = "") -> "HandModel":
        """Put hand networks, from a folder or fetched, in front of letters."""
        return cls(HandReader.load(find_hand_networks(networks)), letters, networks)

    def forward(self, photographs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        read = self.reader(photographs)
        probabilities = self.letters(pack(read.hand), read.picture)
        return probabilities, read.landmarks, read.presence, read.handedness

    def to_onnx(self, image_size: int) -> onnx.ModelProto:
        """The graph of ``forward``, for photographs of a size."""
        return _join(onnx.load(reader_graph(self.networks, image_size)), self.letters)


def _join(reader: onnx.ModelProto, letters: Letters) -> onnx.ModelProto:
    """Put letters behind the reader's graph, which takes much longer to export."""
    shapes = [
        [1 if d.dim_param else d.dim_value for d in out.type.tensor_type.shape.dim]
        for out in reader.graph.output[:2]
    ]
    example = tuple(torch.zeros(3, *shape[1:]) for shape in shapes)
    batch = {0: torch.export.Dim("batch")}
    with warnings.catch_warnings():
        # torch's exporter warns of its own use of a deprecated class
        warnings.filterwarnings("ignore", "`isinstance.treespec", FutureWarning)
        # both inputs have the same batch, as they must
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
        program = torch.onnx.export(
            letters.eval(),
            example,
            input_names=list(OUTPUTS[:2]),
            output_names=["probabilities"],
            opset_version=OPSET,
            dynamic_shapes=(batch, batch),
            dynamo=True,
            verbose=False,
        )
    ours = onnx.compose.add_prefix(
        program.model_proto, "letters_", rename_outputs=False
    )
    ours.ir_version = reader.ir_version
    merged = onnx.compose.merge_models(
        reader,
        ours,
        io_map=[(name, f"letters_{name}") for name in OUTPUTS[:2]],
    )
    # probabilities come first, for those who ask for the first output
    outputs = {value.name: value for value in merged.graph.output}
    del merged.graph.output[:]
    merged.graph.output.extend(
        outputs[name] for name in ("probabilities", *OUTPUTS[2:])
    )
    return merged
