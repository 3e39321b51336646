"""What all peers run: the bytes of a photograph -> its letter, with one thread."""

import os
from pathlib import Path

import cv2
import onnxruntime

from data_prep import packed
from data_prep.preprocessing import FILE_NAME, Preprocessing


class Classifier:
    """The network in the folder that ``ASL_BENCH_ARTIFACTS`` names."""

    def __init__(self):
        artifacts = Path(os.environ["ASL_BENCH_ARTIFACTS"])
        cv2.setNumThreads(1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            artifacts / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.preprocessing = Preprocessing.load(artifacts / FILE_NAME)
        self.letters = packed.read_classes(artifacts)

    def letter(self, photograph: bytes) -> str:
        pixels = self.preprocessing.apply(photograph)[None]
        (answers,) = self.session.run(["probabilities"], {"image": pixels})
        return self.letters[answers[0].argmax()]
