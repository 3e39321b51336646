"""Triton model: the bytes of photographs -> the pixels of the network."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import photographs  # noqa: E402
from preprocessing import FILE_NAME, Preprocessing  # noqa: E402


class TritonPythonModel:
    """One instance, a process of its own."""

    def initialize(self, args):
        self.preprocessing = Preprocessing.load(HERE / FILE_NAME)

    def execute(self, requests):
        pixels, places = photographs.decode(requests, self.preprocessing)
        return photographs.respond("pixels", pixels, places)
