"""A graph as TensorRT takes it: bytes go into a Cast, and nowhere else.

Our graphs transpose an image while it is bytes, which is fast on a CPU. Of TensorRT
"all UINT8 inputs must directly feed into a cast layer" (its maintainers,
NVIDIA/TensorRT issue 3985). What stands before the Cast would be computed outside, and
ONNX Runtime then refuses the load: profiles of batch sizes must be given for what goes
into TensorRT, not for what goes into the graph.
"""

from pathlib import Path

import onnx

from data_prep.errors import InputError

MOVING = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity")  # change no value


def write_for_tensorrt(source: Path, target: Path) -> None:
    """Write a graph anew, with the Cast of its input in front; it answers the same.

    Raises:
        InputError: Something computes with the bytes.
    """
    model = onnx.load(source)
    cast_first(model.graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def cast_first(graph: onnx.GraphProto) -> None:
    """Move the Cast of a graph's input before what only moves its bytes about.

    Raises:
        InputError: Something computes with the bytes.
    """
    name, path = graph.input[0].name, []
    while True:
        users = [node for node in graph.node if name in node.input]
        if len(users) == 1 and users[0].op_type in MOVING:
            path.append(users[0])
            name = users[0].output[0]
        elif len(users) == 1 and users[0].op_type == "Cast":
            break
        else:
            kinds = ", ".join(sorted({node.op_type for node in users})) or "nothing"
            raise InputError(
                f"TensorRT takes an image's bytes into a Cast alone, and in this model "
                f"they go into {kinds}; deploy it without --accelerator tensorrt"
            )
    if not path:
        return
    cast = users[0]
    after = cast.output[0]  # who has read the Cast reads the last of the path
    cast.input[0], cast.output[0] = graph.input[0].name, f"{graph.input[0].name}_cast"
    path[0].input[0] = cast.output[0]
    stale = {node.output[0] for node in path}
    path[-1].output[0] = after
    stale.add(after)
    # in the order of computing
    graph.node.remove(cast)
    graph.node.insert(0, cast)
    known = [value for value in graph.value_info if value.name not in stale]
    del graph.value_info[:]
    graph.value_info.extend(known)
