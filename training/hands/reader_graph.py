"""The reader as an ONNX graph: the first part of every hand model.

python -m training.hands.reader_graph      fetch the networks and make the graph, once
"""

import hashlib
import os
import sys
import warnings
from pathlib import Path

import torch

from data_prep.errors import exit_2_on_input_error
from data_prep.leftovers import newest_first
from training.hands import crops, hand, landmarks, palms, reader, tflite
from training.hands.files import FILES, cache_folder, find_hand_networks
from training.hands.hand import pack
from training.hands.reader import HandReader

OPSET = 18
OUTPUTS = ("rows", "picture", "landmarks", "hand", "handedness")
KEPT = 6  # graphs of other versions of this code, and of other sizes of photographs


def reader_graph(folder: str | Path = "", image_size: int = 256) -> Path:
    """Find the ONNX graph that reads photographs; export it where there is none yet.

    Args:
        folder: Of the hand networks, as `find_hand_networks` takes it.
        image_size: Side of the photographs, pixels.

    Returns:
        A file: ``image`` uint8 ``[batch, S, S, 3]`` in; OUTPUTS out.
    """
    networks = find_hand_networks(folder)
    digest = hashlib.sha256(torch.__version__.encode())
    modules = [crops, hand, landmarks, palms, reader, tflite]
    sources = [Path(module.__file__) for module in modules] + [Path(__file__)]
    for source in sources:  # another version of the code makes another graph
        digest.update(source.read_bytes())
    for known, _ in FILES.values():
        digest.update(known.encode())
    kept = cache_folder()
    path = kept / f"reader-{image_size}-{digest.hexdigest()[:16]}.onnx"
    if not path.exists():
        print("preparing the hand networks (a minute or two, once)", file=sys.stderr)
        kept.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        _export(HandReader.load(networks), partial, image_size)
        partial.replace(path)
    os.utime(path)
    for old in newest_first(kept.glob("reader-*.onnx"))[KEPT:]:
        old.unlink(missing_ok=True)
    return path


class _Read(torch.nn.Module):
    """`HandReader` as a graph: one array an output."""

    def __init__(self, reader: HandReader):
        super().__init__()
        self.reader = reader

    def forward(self, image):
        read = self.reader(image)
        return pack(read.hand), *read[1:]


def _export(reader: HandReader, path: Path, image_size: int) -> None:
    # three images, since export takes a dimension of 1 for a constant
    example = torch.zeros(3, image_size, image_size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # torch's exporter warns of its own use of a deprecated class
        warnings.filterwarnings("ignore", "`isinstance.treespec", FutureWarning)
        torch.onnx.export(
            _Read(reader).eval(),
            (example,),
            path,
            input_names=["image"],
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@exit_2_on_input_error
def main() -> None:
    print(reader_graph())


if __name__ == "__main__":
    main()
