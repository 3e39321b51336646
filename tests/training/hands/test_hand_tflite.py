"""TFLite files as torch modules: the same numbers, or a refusal."""

import flatbuffers
import numpy as np
import pytest
import tflite
import torch
from torch.nn import functional

from data_prep.errors import InputError
from training.hands.files import PALMS
from training.hands.tflite import PReLU, TFLiteNetwork


def write_convolution(path, size, weight, stride, operator="CONV_2D", dtype="FLOAT32"):
    """A file of one convolution, ``(1, size, size, 1)`` -> ..., padded as "SAME".

    Args:
        weight: ``(k, k)`` float32.
        operator: What the file calls it.
        dtype: What the file calls the type of the weights.
    """
    made = flatbuffers.Builder(1024)
    k, out = len(weight), -(-size // stride)

    def vector(offsets):
        made.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            made.PrependUOffsetTRelative(offset)
        return made.EndVector()

    def ints(values):
        return made.CreateNumpyVector(np.array(values, np.int32))

    buffers = []
    for data in (None, weight, np.zeros(1, np.float32)):
        raw = np.frombuffer(b"" if data is None else data.tobytes(), np.uint8)
        raw = made.CreateNumpyVector(raw)
        tflite.BufferStart(made)
        tflite.BufferAddData(made, raw)
        buffers.append(tflite.BufferEnd(made))
    tensors = []
    kinds = ["FLOAT32", dtype, "FLOAT32", "FLOAT32"]
    shapes = [(1, size, size, 1), (1, k, k, 1), (1,), (1, out, out, 1)]
    for shape, buffer, kind in zip(shapes, (0, 1, 2, 0), kinds):
        shape = ints(shape)
        tflite.TensorStart(made)
        tflite.TensorAddShape(made, shape)
        tflite.TensorAddType(made, getattr(tflite.TensorType, kind))
        tflite.TensorAddBuffer(made, buffer)
        tensors.append(tflite.TensorEnd(made))
    tflite.Conv2DOptionsStart(made)
    tflite.Conv2DOptionsAddPadding(made, tflite.Padding.SAME)
    tflite.Conv2DOptionsAddStrideW(made, stride)
    tflite.Conv2DOptionsAddStrideH(made, stride)
    tflite.Conv2DOptionsAddDilationWFactor(made, 1)
    tflite.Conv2DOptionsAddDilationHFactor(made, 1)
    options = tflite.Conv2DOptionsEnd(made)
    fed, given = ints([0, 1, 2]), ints([3])
    tflite.OperatorStart(made)
    tflite.OperatorAddInputs(made, fed)
    tflite.OperatorAddOutputs(made, given)
    tflite.OperatorAddBuiltinOptionsType(made, tflite.BuiltinOptions.Conv2DOptions)
    tflite.OperatorAddBuiltinOptions(made, options)
    operators = vector([tflite.OperatorEnd(made)])
    tensors, first, last = vector(tensors), ints([0]), ints([3])
    tflite.SubGraphStart(made)
    tflite.SubGraphAddTensors(made, tensors)
    tflite.SubGraphAddInputs(made, first)
    tflite.SubGraphAddOutputs(made, last)
    tflite.SubGraphAddOperators(made, operators)
    graphs = vector([tflite.SubGraphEnd(made)])
    code = getattr(tflite.BuiltinOperator, operator)
    tflite.OperatorCodeStart(made)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(made, min(code, 127))
    tflite.OperatorCodeAddBuiltinCode(made, code)
    codes = vector([tflite.OperatorCodeEnd(made)])
    buffers = vector(buffers)
    tflite.ModelStart(made)
    tflite.ModelAddVersion(made, 3)
    tflite.ModelAddOperatorCodes(made, codes)
    tflite.ModelAddSubgraphs(made, graphs)
    tflite.ModelAddBuffers(made, buffers)
    made.Finish(tflite.ModelEnd(made), b"TFL3")
    path.write_bytes(made.Output())
    return path


@pytest.mark.parametrize(
    "size, kernel, stride, before",
    # TensorFlow pads (ceil(size / stride) - 1) * stride + kernel - size in all: half of
    # it before, and what is odd at the end
    [
        (4, 3, 2, 0),
        (5, 3, 2, 1),
        (6, 5, 2, 1),
        (7, 2, 1, 0),
        (8, 1, 2, 0),
        (8, 3, 1, 1),
    ],
)
def test_padding_is_tensorflows_and_what_is_odd_goes_to_the_end(
    tmp_path, size, kernel, stride, before
):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((kernel, kernel)).astype(np.float32)
    picture = rng.standard_normal((size, size)).astype(np.float32)
    network = TFLiteNetwork(write_convolution(tmp_path / "n", size, weight, stride))
    with torch.inference_mode():
        (got,) = network(torch.from_numpy(picture)[None, None])
    padded = np.pad(picture, (before, kernel + stride))  # zeros: more is not looked at
    out = -(-size // stride)
    expected = [
        [
            (padded[y : y + kernel, x : x + kernel] * weight).sum()
            for x in range(0, out * stride, stride)
        ]
        for y in range(0, out * stride, stride)
    ]
    np.testing.assert_allclose(got[0, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    "called, refusal",
    [
        ({"operator": "SVDF"}, "the operator SVDF"),
        ({"operator": "CUMSUM"}, "the operator CUMSUM"),  # above 127: the newer field
        ({"dtype": "INT8"}, f"the data type {tflite.TensorType.INT8}"),
    ],
)
def test_what_is_not_known_is_refused_by_name_in_one_line(tmp_path, called, refusal):
    weight = np.ones((3, 3), np.float32)
    path = write_convolution(tmp_path / "other.tflite", 8, weight, 1, **called)
    with pytest.raises(InputError, match=refusal) as caught:
        TFLiteNetwork(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_prelu_of_convolutions_is_prelu_for_any_slope():
    slope = torch.tensor([-1.5, -0.2, 0.0, 0.3, 1.0, 1.7])
    x = torch.randn(3, 6, 5, 5, generator=torch.Generator().manual_seed(0)) * 4
    got = PReLU(slope)(x)
    torch.testing.assert_close(got, functional.prelu(x, slope))


def test_a_network_takes_batches_and_pictures_of_another_size(networks):
    network = TFLiteNetwork(networks / PALMS)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together, alone = network(pictures), network(pictures[1:])
    places = 2 * 8 * 8 + 6 * 4 * 4  # anchors at strides of 8 and 16 pixels
    assert [tuple(x.shape) for x in together] == [(2, places, 18), (2, places, 1)]
    for several, one in zip(together, alone):
        torch.testing.assert_close(several[1:], one, atol=1e-4, rtol=1e-4)
