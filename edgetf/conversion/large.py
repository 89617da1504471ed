"""The large variables of a SavedModel. In: its graph and its checkpoint. Out: where they are read, and by what.

A signature reaches a variable through calls of functions. A variable counts if it is only read, by operations that read
nothing else, and if its values are real numbers of which not all are equal. What the operation behind it is determines
how a flatbuffer stores the values: the weights of its FULLY_CONNECTED, for example, are (outputs, inputs), those of
TensorFlow's MatMul (inputs, outputs).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgetf.conversion.checkpoint import Checkpoint
from edgetf.conversion.digest import checkpoint_keys
from edgetf.conversion.messages import NeedsTensorFlowError, numpy_dtype, read_tensor

_INIT = "__saved_model_init_op"
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_SAME = {"Identity", "StopGradient", "PreventGradient"}
_GATHERS = {"GatherV2": 0, "ResourceGather": 0}  # the operand that is the table
_PRODUCTS = {"MatMul": "transpose_b", "BatchMatMulV2": "adj_y", "BatchMatMulV3": "adj_y"}
_LEAST = 1 << 20  # bytes of a large variable
_LOOKED_AT = 1 << 10  # numbers of which not all may be equal
_MOST_CALLS = 100_000

Place = tuple[str, str]  # a function (empty: the main graph), and the name of a node
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a flatbuffer stores a variable: `reshaped`, its axes in another order, and that as `shape`."""

    reshaped: Shape
    axes: tuple[int, ...]
    shape: Shape


Layouts = dict[tuple[str, int], Layout]  # by the kind of a flatbuffer's operation, and its operand


@dataclass(frozen=True)
class LargeVariable:
    """A large variable: its node in the main graph, its key in the checkpoint, its shape, and the nodes that read it.

    `layouts` has how the operations of a flatbuffer store it; none if that is unknown.
    """

    node: str
    key: str
    shape: Shape
    reads: tuple[Place, ...]
    layouts: Mapping[tuple[str, int], Layout] = field(compare=False)

    @property
    def nbytes(self) -> int:
        return 4 * math.prod(self.shape)


@dataclass
class _Uses:
    """What a variable is used for: the nodes that read its handle, the layouts of those that take its value, and
    whether anything else may happen to it."""

    reads: set[Place] = field(default_factory=set)
    layouts: list[Layouts] = field(default_factory=list)
    other: bool = False


def find_large(graph: Any, signature: str, checkpoint: Checkpoint) -> tuple[LargeVariable, ...]:
    """The large variables that `signature` of the meta graph reads, in the order of the graph.

    Equal variables do not count, if it reads them: the converter merges them. Raises NeedsTensorFlowError for a
    checkpoint that TensorFlow has to read, and KeyError, ValueError or IndexError for a graph that TensorFlow 2 did not
    save.
    """
    keys, shapes = checkpoint_keys(graph), {}
    for node in graph.graph_def.node:
        if node.op == "VarHandleOp" and node.name in keys and numpy_dtype(node.attr["dtype"].type) == np.float32:
            shape = tuple(int(axis.size) for axis in node.attr["shape"].shape.dim)
            if 4 * math.prod(shape) >= _LEAST and checkpoint.shape(keys[node.name]) == shape:
                shapes[node.name] = shape
    uses = _Walk(graph, signature, shapes).uses
    alone = {place for place, count in Counter(one for use in uses.values() for one in use.reads).items() if count == 1}
    sums = Counter(checkpoint.checksum(keys[name]) for name, use in uses.items() if use.reads or use.other)
    return tuple(
        LargeVariable(name, keys[name], shape, tuple(sorted(use.reads)), _agreed(use.layouts))
        for name, shape in shapes.items()
        if (use := uses[name]).reads
        and not use.other
        and use.reads <= alone
        and sums[checkpoint.checksum(keys[name])] == 1
        and _varies(checkpoint.get_tensor(keys[name]))
    )


def bytes_read(graph: Any, signature: str, checkpoint: Checkpoint) -> int:
    """The bytes of all variables that `signature` reads. Raises as `find_large` does."""
    keys, left_out = checkpoint_keys(graph), unread(graph, signature)
    return sum(checkpoint.nbytes(key) for node, key in keys.items() if node not in left_out)


def unread(graph: Any, signature: str) -> set[str]:
    """The nodes of all variables that nothing which `signature` computes depends on, such as an optimizer's."""
    reached = _reached({node.name: node for node in graph.graph_def.node}, _roots(graph, signature))
    return {node.name for node in graph.graph_def.node if node.op == "VarHandleOp" and node.name not in reached}


def _varies(values: np.ndarray[Any, Any]) -> bool:
    first = values.reshape(-1)[:_LOOKED_AT]
    return bool((first != first[0]).any())


def _agreed(layouts: list[Layouts]) -> Layouts:
    """The layouts of several uses; none if one is unknown, or if two differ."""
    found: Layouts = {}
    for one in layouts:
        if not one or any(found.get(place, layout) != layout for place, layout in one.items()):
            return {}
        found |= one
    return found


def _roots(graph: Any, signature: str) -> list[str]:
    """The tensors that the signature, and what initializes the model, have as results."""
    names = [signature, *([_INIT] if _INIT in graph.signature_def else [])]
    return [info.name for name in names for info in graph.signature_def[name].outputs.values()]


def _reached(nodes: Mapping[str, Any], roots: Iterable[str]) -> set[str]:
    """The names of the nodes that these tensors depend on."""
    reached, waiting = set(), [_node_of(one) for one in roots]
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in reached:
            reached.add(name)
            waiting += [_node_of(one) for one in nodes[name].input]
    return reached


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]


@dataclass(frozen=True)
class _Flow:
    """A node or an argument that has the handle of a variable, or its value in some shape (empty: unknown)."""

    name: str
    variable: str
    shape: Shape | None


class _Walk:
    """Follows variables, by the names of their nodes, through the main graph and the functions that it calls."""

    def __init__(self, graph: Any, signature: str, shapes: Mapping[str, Shape]) -> None:
        self._functions = {function.signature.name: function for function in graph.graph_def.library.function}
        self._shapes, self._calls = shapes, 0
        self.uses = {name: _Uses() for name in shapes}
        nodes = {node.name: node for node in graph.graph_def.node}
        roots = _roots(graph, signature)
        reached = {name: nodes[name] for name in _reached(nodes, roots)}
        results = {_node_of(one) for one in roots}
        self._scope("", reached, results, [_Flow(name, name, None) for name in shapes])

    def _scope(self, function: str, nodes: Mapping[str, Any], results: set[str], given: list[_Flow]) -> None:
        """Follow what is given in a graph."""
        self._calls += 1
        if self._calls > _MOST_CALLS:
            raise ValueError("the functions call each other too often")
        readers = defaultdict(list)
        for node in nodes.values():
            for place, one in enumerate(node.input):
                if not one.startswith("^"):
                    readers[_node_of(one)].append((node, place))
        waiting = list(given)
        while waiting:
            flow = waiting.pop()
            self.uses[flow.variable].other |= flow.name in results
            for node, place in readers[flow.name]:
                if node.op in _CALLS:
                    self._call(node, place, flow)
                else:
                    waiting += self._follow((function, node.name), node, place, flow, nodes)

    def _follow(self, at: Place, node: Any, place: int, flow: _Flow, nodes: Mapping[str, Any]) -> list[_Flow]:
        """What a node at some place of the graph hands on of its operand `place`; notes what it does with it."""
        use = self.uses[flow.variable]
        if flow.shape is not None:
            passed = _passed_on(node, place, flow, nodes)
            use.layouts += [] if passed else [_layouts(node, place, flow.shape, nodes)]
            return passed
        if node.op not in ("ReadVariableOp", "ResourceGather"):
            use.other = True
            return []
        use.reads.add(at)
        shape = self._shapes[flow.variable]
        if node.op == "ReadVariableOp":
            return [_Flow(node.name, flow.variable, shape)]
        use.layouts.append(_layouts(node, place, shape, nodes))
        return []

    def _call(self, node: Any, place: int, flow: _Flow) -> None:
        function = self._functions[node.attr["f"].func.name]
        argument = function.signature.input_arg[place].name
        results = {_node_of(one) for one in function.ret.values()}
        nodes = {one.name: one for one in function.node_def}
        self._scope(function.signature.name, nodes, results, [replace(flow, name=argument)])


def _passed_on(node: Any, place: int, flow: _Flow, nodes: Mapping[str, Any]) -> list[_Flow]:
    """The value of a variable behind a node that only names it, or gives it another shape."""
    if node.op in _SAME:
        return [replace(flow, name=node.name)]
    if node.op != "Reshape" or place or flow.shape is None:
        return []
    shape = _constant(node.input[1], nodes)
    known = None if shape is None else [int(axis) for axis in shape]
    count = math.prod(flow.shape)
    if known is not None and known.count(-1) == 1:
        known[known.index(-1)] = count // -math.prod(known)
    return [replace(flow, name=node.name, shape=() if known is None or math.prod(known) != count else tuple(known))]


def _layouts(node: Any, place: int, shape: Shape, nodes: Mapping[str, Any]) -> Layouts:
    """How a flatbuffer stores the variable that is operand `place` of a node of TensorFlow; none if unknown."""
    if not shape:
        return {}
    if node.op in _GATHERS and place == _GATHERS[node.op] and _takes_rows(node, nodes):
        return {("GATHER", 0): _ordered(shape, range(len(shape)))}
    if node.op in _PRODUCTS and place == 1 and len(shape) == 2:
        return {("FULLY_CONNECTED", 1): _ordered(shape, (0, 1) if node.attr[_PRODUCTS[node.op]].b else (1, 0))}
    if node.op == "Conv2D" and place == 1 and node.attr["data_format"].s in (b"", b"NHWC"):
        return {("CONV_2D", 1): _ordered(shape, (3, 0, 1, 2))}
    if node.op == "Einsum" and place == 1:
        return _einsum(node.attr["equation"].s.decode(), shape)
    return {}


def _ordered(shape: Shape, axes: Iterable[int]) -> Layout:
    order = tuple(axes)
    return Layout(shape, order, tuple(shape[k] for k in order))


def _takes_rows(node: Any, nodes: Mapping[str, Any]) -> bool:
    """Whether a node takes entries along the first axis."""
    if node.attr["batch_dims"].i:
        return False
    axis = 0 if node.op == "ResourceGather" else _constant(node.input[2], nodes)
    return axis is not None and not np.any(axis)


def _constant(tensor: str, nodes: Mapping[str, Any]) -> np.ndarray[Any, Any] | None:
    """The value of a constant of the same graph; None for anything else."""
    node = nodes.get(_node_of(tensor))
    try:
        return None if node is None or node.op != "Const" else read_tensor(node.attr["value"].tensor)
    except NeedsTensorFlowError:
        return None


def _einsum(equation: str, shape: Shape) -> Layouts:
    """The layout of the second operand of a product whose axes are in the same order everywhere: first those that are
    summed over, then the others, as in `abc,cde->abde`."""
    operands, _, result = equation.replace(" ", "").partition("->")
    first, _, second = operands.partition(",")
    summed = [k for k, one in enumerate(second) if one not in result]
    kept = [k for k, one in enumerate(second) if one in result]
    ends = "".join(second[k] for k in summed), "".join(second[k] for k in kept)
    batch = first.removesuffix(ends[0])
    if "." in equation or len(second) != len(shape) or not summed or not kept or set(second) & set(batch):
        return {}
    if first != batch + ends[0] or result != batch + ends[1]:
        return {}
    rows, columns = (math.prod(shape[k] for k in some) for some in (kept, summed))
    return {("FULLY_CONNECTED", 1): Layout(shape, (*kept, *summed), (rows, columns))}
