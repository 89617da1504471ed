"""Write a SavedModel whose large variables are constants, one number each. In: a SavedModel. Out: a small one.

Where a variable was read stands a `Const` of its shape whose elements are all the same: TensorFlow and MLIR keep one
number of it. The variable itself is left as a scalar, so that nothing of its size is restored. So are variables that
the signature does not read, such as an optimizer's.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgetf.backend import load_tensorflow
from edgetf.conversion.digest import checkpoint_keys
from edgetf.conversion.large import LargeVariable, unread
from edgetf.conversion.messages import messages
from edgetf.conversion.savedmodel import read_proto

ADDED = "edgetf-table", "edgetf-axis"  # the last parts of the names of nodes that are added
_PROTO, _VARIABLES = "saved_model.pb", "variables"


def write_hollow(saved_model: Path, out: Path, signature: str, values: Mapping[LargeVariable, float]) -> Path:
    """Write a copy of `saved_model` to `out` in which all elements of some large variables have the given value."""
    if out.exists():
        shutil.rmtree(out)
    (out / _VARIABLES).mkdir(parents=True)
    for entry in saved_model.iterdir():
        if entry.name not in (_PROTO, _VARIABLES):
            (out / entry.name).symlink_to(entry.resolve())
    proto = read_proto(saved_model)
    graph = next(one for one in proto.meta_graphs if "serve" in one.meta_info_def.tags)
    keys = checkpoint_keys(graph)
    scalars = {one.node for one in values} | {node for node in unread(graph, signature) if node in keys}
    for node in graph.graph_def.node:
        if node.name in scalars:
            node.attr["shape"].shape.Clear()
    for variable, value in values.items():
        _replace_reads(graph.graph_def, variable, value)
    (out / _PROTO).write_bytes(proto.SerializeToString())
    _write_checkpoint(saved_model, out, {keys[node] for node in scalars})
    return out


def _write_checkpoint(saved_model: Path, out: Path, scalars: set[str]) -> None:
    """Copy the checkpoint of a SavedModel, with a scalar for some of its keys."""
    tf = load_tensorflow()
    prefix = str(saved_model / _VARIABLES / _VARIABLES)
    dtypes = tf.train.load_checkpoint(prefix).get_variable_to_dtype_map()
    names = sorted(dtypes)
    copied = [name for name in names if name not in scalars]
    slices = [""] * len(copied)
    tensors = tf.raw_ops.RestoreV2(
        prefix=prefix, tensor_names=copied, shape_and_slices=slices, dtypes=[dtypes[name] for name in copied]
    )
    found = dict(zip(copied, tensors, strict=True))
    tf.raw_ops.SaveV2(
        prefix=str(out / _VARIABLES / _VARIABLES),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[found[name] if name in found else tf.zeros([], dtypes[name]) for name in names],
    )


def _replace_reads(graph: Any, variable: LargeVariable, value: float) -> None:
    """Let the nodes that read a variable read a constant instead."""
    bodies = {"": graph.node, **{one.signature.name: one.node_def for one in graph.library.function}}
    for function, name in variable.reads:
        nodes = bodies[function]
        node = next(one for one in nodes if one.name == name)
        if node.op == "ResourceGather":
            _gather(nodes, node, variable.shape, value, is_main=not function)
            continue
        controls = [one for one in node.input if one.startswith("^")]
        node.Clear()
        node.input.extend(controls)
        _fill(node, name, variable.shape, value)
        for reader in nodes if function else ():
            reader.input[:] = [
                one.replace(f"{name}:value:", f"{name}:output:") if one.startswith(f"{name}:value:") else one
                for one in reader.input
            ]


def _fill(node: Any, name: str, shape: tuple[int, ...], value: float) -> None:
    """Make a node a constant whose elements are all `value`."""
    dtype = messages().DataType.Value("DT_FLOAT")
    node.name, node.op = name, "Const"
    node.attr["dtype"].type = dtype
    tensor = node.attr["value"].tensor
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    tensor.float_val.append(value)


def _gather(nodes: Any, node: Any, shape: tuple[int, ...], value: float, is_main: bool) -> None:
    """Take rows of a constant, as TensorFlow's own conversion of this operation does."""
    table, axis = (f"{node.name}/{added}" for added in ADDED)
    _fill(nodes.add(), table, shape, value)
    first = nodes.add()
    first.name, first.op = axis, "Const"
    int32 = messages().DataType.Value("DT_INT32")
    first.attr["dtype"].type = first.attr["value"].tensor.dtype = int32
    first.attr["value"].tensor.tensor_shape.Clear()
    first.attr["value"].tensor.int_val.append(0)
    _, indices, *controls = node.input
    suffix = "" if is_main else ":output:0"
    node.op = "GatherV2"
    node.input[:] = [f"{table}{suffix}", indices, f"{axis}{suffix}", *controls]
    node.attr["Tparams"].type = node.attr["dtype"].type
    node.attr["Taxis"].type = int32
    for name in ("dtype", "validate_indices"):
        node.attr.pop(name, None)
