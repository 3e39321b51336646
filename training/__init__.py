"""From a prepared dataset to an evaluated ONNX model."""

import os

import data_prep  # noqa: F401  Ctrl-C is quiet from here on

# Both must precede every `import torch`, so they are done by the package itself.
# OpenMP threads spin only briefly before they sleep: else they keep the cores from the
# threads that augment, and from whatever else runs (training/EXPERIMENTS.md).
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

from training.torch_setup import hide_foreign_triton  # noqa: E402

hide_foreign_triton()
