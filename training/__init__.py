"""From a prepared dataset to an evaluated ONNX model."""

# Must precede every `import torch`, so it is done by the package itself.
from training.torch_setup import hide_foreign_triton

hide_foreign_triton()
