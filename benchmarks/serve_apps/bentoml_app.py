"""BentoML; run by ``bentoml serve``, which starts the workers."""

import os
from pathlib import Path

import bentoml
from classifier import Classifier


@bentoml.service(workers=os.cpu_count(), logging={"access": {"enabled": False}})
class Letters:
    def __init__(self):
        self.classifier = Classifier()

    @bentoml.api
    def letter(self, photograph: Path) -> dict:
        return {"letter": self.classifier.letter(photograph.read_bytes())}
