"""LitServe: python -m litserve_app PORT"""

import os
import sys

import litserve
from classifier import Classifier


class Letters(litserve.LitAPI):
    def setup(self, device):
        self.classifier = Classifier()

    def decode_request(self, request):
        return request["photograph"].file.read()

    def predict(self, photograph):
        return self.classifier.letter(photograph)

    def encode_response(self, letter):
        return {"letter": letter}


if __name__ == "__main__":
    server = litserve.LitServer(
        Letters(), accelerator="cpu", workers_per_device=os.cpu_count(), fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        generate_client_file=False,
    )
