"""From a prepared dataset to an evaluated ONNX model."""

import os

# Both must precede every `import torch`, so they are done by the package itself.
# OpenMP's threads wait asleep: spinning, they keep the cores from the threads that
# augment, and from whatever else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from training.torch_setup import hide_foreign_triton  # noqa: E402

hide_foreign_triton()
