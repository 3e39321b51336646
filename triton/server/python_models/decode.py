"""Triton model: the bytes of photographs -> the pixels of the network."""

import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import photographs  # noqa: E402
from metrics import Metrics  # noqa: E402
from preprocessing import FILE_NAME, Preprocessing  # noqa: E402


class TritonPythonModel:
    """One instance, a process of its own."""

    def initialize(self, args):
        self.preprocessing = Preprocessing.load(HERE / FILE_NAME)
        self.metrics = Metrics(args)

    def execute(self, requests):
        start = time.perf_counter()
        pixels, places = photographs.decode(requests, self.preprocessing)
        self.metrics.count(requests, places, time.perf_counter() - start)
        return photographs.respond({"pixels": pixels}, places)

    def finalize(self):
        self.metrics.release()
