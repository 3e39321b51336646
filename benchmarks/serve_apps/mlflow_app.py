"""MLflow: python -m mlflow_app FOLDER saves what ``mlflow models serve`` runs."""

import base64
import sys

import mlflow
from classifier import Classifier


class Letters(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.classifier = Classifier()

    def predict(self, context, model_input: list[str]) -> list[str]:
        return [self.classifier.letter(base64.b64decode(text)) for text in model_input]


if __name__ == "__main__":
    mlflow.pyfunc.save_model(sys.argv[1], python_model=Letters(), pip_requirements=[])
