"""Triton model: the bytes of photographs -> the graph's answers, in one process.

On a CPU this is faster than a decode model and a classifier in a row, since the pixels
need not travel from one process to another.
"""

import json
import sys
import time
from pathlib import Path

import onnxruntime

HERE = Path(__file__).resolve().parent
HAND = "hand"  # the output, of graphs that look for one
sys.path.insert(0, str(HERE))

import photographs  # noqa: E402
from metrics import Metrics  # noqa: E402
from preprocessing import FILE_NAME, Preprocessing  # noqa: E402


class TritonPythonModel:
    """One instance: a process with one thread for decoding and for inference."""

    def initialize(self, args):
        self.preprocessing = Preprocessing.load(HERE / FILE_NAME)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(HERE / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name
        # the probabilities are the first; the others a graph may have or not
        self.outputs = [x["name"] for x in json.loads(args["model_config"])["output"]]
        # as Triton reads them: only a line feed ends a line
        labels = (HERE.parent / "classes.txt").read_bytes().decode("utf-8")
        labels = labels.removesuffix("\n").split("\n")
        self.metrics = Metrics(args, labels, looks=HAND in self.outputs)

    def execute(self, requests):
        """Infer the images of all requests in one run."""
        start = time.perf_counter()
        pixels, places = photographs.decode(requests, self.preprocessing)
        seconds = time.perf_counter() - start
        answers = {}
        if len(pixels):
            arrays = self.session.run(self.outputs, {self.input: pixels})
            answers = dict(zip(self.outputs, arrays))
        probabilities, hands = answers.get(self.outputs[0]), answers.get(HAND)
        self.metrics.count(requests, places, seconds, probabilities, hands)
        return photographs.respond(answers, places)

    def finalize(self):
        self.metrics.release()
