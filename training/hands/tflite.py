"""A TFLite file of floating-point convolutions as a torch module.

It reads what MediaPipe's hand networks are made of, and refuses anything else. The
module is an ordinary one: it runs on batches, can be trained and exported. Its
pictures may have another size than the file's, a multiple of 32.
"""

from pathlib import Path

import numpy as np
import tflite
import torch
from torch import nn
from torch.nn import functional

from data_prep.errors import InputError

_NAMES = {
    code: name
    for name, code in vars(tflite.BuiltinOperator).items()
    if isinstance(code, int)
}
_ACTIVATIONS = {
    tflite.ActivationFunctionType.NONE: None,
    tflite.ActivationFunctionType.RELU: torch.relu,
    tflite.ActivationFunctionType.RELU6: functional.relu6,
}
_DTYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}


class TFLiteNetwork(nn.Module):
    """``(N, 3, H, W)`` float32 -> the file's outputs, in the file's order.

    Outputs keep the file's shape but for the first axis, which is N. Inside, pictures
    are NCHW, where TFLite has NHWC.

    Args:
        path: The TFLite file.
        activations: Number of a tensor inside, which is returned behind the outputs.

    Raises:
        InputError: The file has an operator or a data type that is not known here.
    """

    def __init__(self, path: Path, activations: int | None = None):
        super().__init__()
        model = tflite.Model.GetRootAsModel(Path(path).read_bytes(), 0)
        graph = model.Subgraphs(0)
        reader = _Reader(path, model, graph)
        self.layers = nn.ModuleList()
        self.steps: list[tuple[int, list[int], int]] = []  # layer, inputs, output
        renamed: dict[int, int] = {}  # dequantised weights stand for the stored ones
        for number in range(graph.OperatorsLength()):
            operator = graph.Operators(number)
            inputs = [renamed.get(i, i) for i in operator.InputsAsNumpy().tolist()]
            (output,) = operator.OutputsAsNumpy().tolist()
            name = reader.name_of(operator)
            if name == "DEQUANTIZE":
                renamed[output] = inputs[0]
                continue
            layer = reader.build(name, operator, inputs, output)
            fed = [i for i in inputs if reader.constant(i) is None]
            self.steps.append((len(self.layers), fed, output))
            self.layers.append(layer)
        (self.input,) = graph.InputsAsNumpy().tolist()
        self.outputs = graph.OutputsAsNumpy().tolist()
        if activations is not None:
            self.outputs.append(activations)
        self.input_size = int(graph.Tensors(self.input).Shape(1))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values = {self.input: images}
        for layer, inputs, output in self.steps:
            values[output] = self.layers[layer](*(values[i] for i in inputs))
        return tuple(values[i] for i in self.outputs)


class _Reader:
    """Builds the layers of one file."""

    def __init__(self, path, model, graph):
        self.path, self.model, self.graph = path, model, graph

    def name_of(self, operator) -> str:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        # files of older writers have the first of the two only
        number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        return _NAMES.get(number, str(number))

    def shape(self, tensor: int) -> list[int]:
        return self.graph.Tensors(tensor).ShapeAsNumpy().tolist()

    def constant(self, tensor: int) -> np.ndarray | None:
        """The values stored for a tensor; None for one that is computed."""
        described = self.graph.Tensors(tensor)
        buffer = self.model.Buffers(described.Buffer())
        if not buffer.DataLength():
            return None
        dtype = _DTYPES.get(described.Type())
        if dtype is None:
            self.refuse(f"the data type {described.Type()}")
        values = buffer.DataAsNumpy().view(dtype).reshape(self.shape(tensor))
        return values.astype(np.float32) if dtype == np.float16 else values

    def tensor(self, tensor: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self.constant(tensor)))

    def refuse(self, what: str):
        raise InputError(
            f"{self.path} needs {what}, which is not known here; use the files of the "
            "release that README.md names"
        )

    def build(self, name: str, operator, inputs: list[int], output: int) -> nn.Module:
        make = getattr(self, f"_{name.lower()}", None)
        if make is None:
            self.refuse(f"the operator {name}")
        return make(operator, inputs, output)

    def options(self, operator, kind):
        options, table = kind(), operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    def activation(self, options):
        code = options.FusedActivationFunction()
        if code not in _ACTIVATIONS:
            self.refuse(f"the activation {code}")
        return _ACTIVATIONS[code]

    def _conv_2d(self, operator, inputs, output):
        options = self.options(operator, tflite.Conv2DOptions)
        weight = self.tensor(inputs[1]).permute(0, 3, 1, 2)  # from (out, h, w, in)
        return self._convolution(options, inputs, weight, groups=1)

    def _depthwise_conv_2d(self, operator, inputs, output):
        options = self.options(operator, tflite.DepthwiseConv2DOptions)
        weight = self.tensor(inputs[1]).permute(3, 0, 1, 2)  # from (1, h, w, channels)
        return self._convolution(options, inputs, weight, groups=len(weight))

    def _convolution(self, options, inputs, weight, groups):
        if options.DilationHFactor() != 1 or options.DilationWFactor() != 1:
            self.refuse("a dilated convolution")
        stride = options.StrideH(), options.StrideW()
        padding = _same_padding(
            options.Padding(), self.shape(inputs[0])[1:3], weight.shape[2:], stride
        )
        bias = self.tensor(inputs[2])
        return Convolution(
            weight, bias, stride, padding, groups, self.activation(options)
        )

    def _max_pool_2d(self, operator, inputs, output):
        options = self.options(operator, tflite.Pool2DOptions)
        kernel = options.FilterHeight(), options.FilterWidth()
        stride = options.StrideH(), options.StrideW()
        size = self.shape(inputs[0])[1:3]
        if any(_same_padding(options.Padding(), size, kernel, stride)):
            self.refuse("padded pooling")
        return nn.MaxPool2d(kernel, stride)

    def _add(self, operator, inputs, output):
        return Add(self.activation(self.options(operator, tflite.AddOptions)))

    def _prelu(self, operator, inputs, output):
        return PReLU(self.tensor(inputs[1]).reshape(-1))

    def _pad(self, operator, inputs, output):
        pads = self.constant(inputs[1])  # (4, 2): NHWC, before and after
        if pads[:3].any():
            self.refuse("padding of other axes than the channels")
        return PadChannels(int(pads[3, 0]), int(pads[3, 1]))

    def _resize_bilinear(self, operator, inputs, output):
        options = self.options(operator, tflite.ResizeBilinearOptions)
        if options.AlignCorners() == options.HalfPixelCenters():
            self.refuse("a resize of neither aligned corners nor half-pixel centres")
        before, after = self.shape(inputs[0])[1], self.shape(output)[1]
        if after % before:
            self.refuse("a resize by a fraction")
        return Enlarge(after // before, options.AlignCorners())

    def _concatenation(self, operator, inputs, output):
        options = self.options(operator, tflite.ConcatenationOptions)
        if len(self.shape(output)) != 3:
            self.refuse("a concatenation of pictures")
        return Concatenate(options.Axis())

    def _reshape(self, operator, inputs, output):
        if len(self.shape(output)) != 3:
            self.refuse("a reshape to other than rows")
        return Rows(self.shape(output)[2])

    def _fully_connected(self, operator, inputs, output):
        options = self.options(operator, tflite.FullyConnectedOptions)
        if self.activation(options) is not None:
            self.refuse("an activation after a fully connected layer")
        weight = self.tensor(inputs[1])
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data, layer.bias.data = weight, self.tensor(inputs[2])
        return layer if len(self.shape(inputs[0])) == 2 else _Flat(layer)

    def _logistic(self, operator, inputs, output):
        return nn.Sigmoid()

    def _mean(self, operator, inputs, output):
        if sorted(self.constant(inputs[1]).reshape(-1).tolist()) != [1, 2]:
            self.refuse("a mean over other axes than height and width")
        return MeanOfPicture()


def _same_padding(kind, size, kernel, stride) -> tuple[int, int, int, int]:
    """Left, right, top, bottom, as TensorFlow pads: what is odd goes to the end."""
    if kind == tflite.Padding.VALID:
        return 0, 0, 0, 0
    pads = []
    for length, window, step in zip(size, kernel, stride):
        total = max((-(-length // step) - 1) * step + window - length, 0)
        pads.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = pads
    return left, right, top, bottom


class Convolution(nn.Module):
    """A convolution with padding of each side, bias and activation."""

    def __init__(self, weight, bias, stride, padding, groups, activation):
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous())
        self.bias = nn.Parameter(bias)
        self.stride, self.groups, self.activation = stride, groups, activation
        left, right, top, bottom = padding
        even = left == right and top == bottom
        self.padding = (top, left) if even else (0, 0)
        self.around = None if even else padding

    def forward(self, x):
        if self.around is not None:
            x = functional.pad(x, self.around)
        x = functional.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, groups=self.groups
        )
        return x if self.activation is None else self.activation(x)


class Add(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.activation = activation

    def forward(self, a, b):
        return a + b if self.activation is None else self.activation(a + b)


class PReLU(nn.Module):
    """A slope a channel, ``slope * x + (1 - slope) * relu(x)``.

    ONNX Runtime's own PRelu took two thirds of the palm network's time. The products
    are convolutions of one pixel and one channel: it computes these in the layout of
    the others, and adds in the same step.
    """

    def __init__(self, slope):
        super().__init__()
        slope = slope.reshape(-1, 1, 1, 1)
        self.slope, self.other = nn.Parameter(slope), nn.Parameter(1 - slope)

    def forward(self, x):
        groups = len(self.slope)
        kept = functional.conv2d(x, self.slope, groups=groups)
        return kept + functional.conv2d(torch.relu(x), self.other, groups=groups)


class PadChannels(nn.Module):
    """Add channels of zeros before and after."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.pads = 0, 0, 0, 0, before, after

    def forward(self, x):
        return functional.pad(x, self.pads)


class Enlarge(nn.Module):
    """Bilinear, ``factor`` times as high and wide."""

    def __init__(self, factor: int, align_corners: bool):
        super().__init__()
        self.factor, self.align_corners = factor, align_corners

    def forward(self, x):
        size = [self.factor * x.shape[2], self.factor * x.shape[3]]
        return functional.interpolate(
            x, size, mode="bilinear", align_corners=self.align_corners
        )


class Concatenate(nn.Module):
    def __init__(self, axis: int):
        super().__init__()
        self.axis = axis

    def forward(self, *parts):
        return torch.cat(parts, self.axis)


class Rows(nn.Module):
    """``(N, C, H, W)`` -> ``(N, rows, width)``, in TFLite's order: channels last."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x):
        rows = (
            x.shape[1] * x.shape[2] * x.shape[3] // self.width
        )  # not -1: N may be unknown when exporting
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], rows, self.width)


class MeanOfPicture(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class _Flat(nn.Module):
    """A linear layer on what is a picture of 1 x 1 in the file."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.flatten(1))
