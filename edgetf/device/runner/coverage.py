"""What a delegate took of a variant's graph, by the interpreter's own list of its nodes.

In: an interpreter with memory allocated. Out: a Graph, and its Coverage. The list names all operations of the first
graph, those that were replaced too; after them come the delegate's nodes, which name only what goes in and out. The
operations inside of a delegate's node are all those behind its outputs, up to its inputs. Nothing here takes part in a
run: whoever asks does so outside of the timed part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .delegates import NO_DELEGATE, find_delegate
from .job import Coverage, Job, JobError, LeftOperations

_DELEGATE = "DELEGATE"  # the kind of a delegate's node
_CONTROL = {"WHILE", "IF", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE"}
_NODES = "nodes"  # the source of what is known


@dataclass(frozen=True)
class Operation:
    """One operation of the graph: the numbers of its tensors, the name of its first output, and what it computes on.

    `activations` and `weights` are names of dtypes, empty if it has none.
    """

    index: int
    kind: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activations: str
    weights: str


@dataclass(frozen=True)
class Graph:
    """The operations of the first graph by number, and those inside of each delegate's node by the number of that.

    `ends` are the graph's own inputs and outputs, `sizes` the bytes of each tensor. `default_pieces` are the nodes of
    TFLite's default delegate, which takes what the one that was asked for has left.
    """

    operations: Mapping[int, Operation]
    pieces: Mapping[int, tuple[int, ...]]
    ends: frozenset[int]
    sizes: Mapping[int, int]
    default_pieces: frozenset[int] = frozenset()

    def places(self) -> dict[int, int]:
        """The delegate's node in which each delegated operation is."""
        own = {piece: inside for piece, inside in self.pieces.items() if piece not in self.default_pieces}
        return {k: piece for piece, inside in own.items() for k in inside}

    def crossing_bytes(self) -> int:
        """The bytes of all tensors that go from a piece to another or to TFLite's kernels, or back, in one inference.

        What the graph itself takes and gives does not count.
        """
        places = self.places()
        made_in = {tensor: places.get(k) for k, one in self.operations.items() for tensor in one.outputs}
        crossing = {
            tensor
            for k, one in self.operations.items()
            for tensor in one.inputs
            if tensor in made_in and tensor not in self.ends and made_in[tensor] != places.get(k)
        }
        return sum(self.sizes.get(tensor, 0) for tensor in crossing)


def read_graph(interpreter: Any) -> Graph:
    """The graph of an interpreter. Raises JobError if the runtime does not list its nodes."""
    try:
        nodes = interpreter._get_ops_details()  # no public way, as of LiteRT 2.3
        tensors = {int(detail["index"]): detail for detail in interpreter.get_tensor_details()}
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        ends = frozenset(int(detail["index"]) for detail in (*inputs, *outputs))
        own = [node for node in nodes if node["op_name"] != _DELEGATE]
        made = {int(k) for node in own for k in node["outputs"]} | {int(detail["index"]) for detail in inputs}
        operations = {int(node["index"]): _operation(node, tensors, made) for node in own}
        delegates = [node for node in nodes if node["op_name"] == _DELEGATE]
        pieces = {int(node["index"]): _inside(node, operations) for node in delegates}
        return Graph(operations, pieces, ends, {k: _bytes(detail) for k, detail in tensors.items()})
    except Exception as error:  # a list for debugging, which another runtime need not have, or not in this form
        raise JobError(f"the runtime does not list the nodes of its graph: {error}") from error


def count_nodes(interpreter: Any) -> int | None:
    """How many nodes there are so far; None if the runtime does not report it. Costs no time, unlike `read_graph`."""
    try:
        return int(interpreter._interpreter.NumNodes())  # as `_get_ops_details` does
    except (AttributeError, TypeError):
        return None


def accelerator_of(job: Job) -> str:
    """The name of a Job's delegate for messages; empty if it asks for none."""
    return "" if job.delegate == NO_DELEGATE else find_delegate(job.delegate).label


def coverage_of(graph: Graph, accelerator: str) -> Coverage:
    """What `accelerator`, the name of a delegate for messages, took of the graph; empty if none was asked for."""
    places = graph.places()
    left = [one for k, one in graph.operations.items() if k not in places]
    taken = [graph.operations[k] for k in places]
    kinds = Counter(one.kind for one in left)
    reasons = {kind: _reason([one for one in left if one.kind == kind], taken, accelerator) for kind in kinds}
    return Coverage(
        operations=len(graph.operations),
        delegated=len(places),
        partitions=len(graph.pieces.keys() - graph.default_pieces),
        left=[LeftOperations(kind, count, reasons[kind]) for kind, count in kinds.most_common()],
        crossing_bytes=graph.crossing_bytes(),
        accelerator=accelerator,
        software=False,
        source=_NODES,
    )


def _operation(node: Mapping[str, Any], tensors: Mapping[int, Any], made: set[int]) -> Operation:
    """`made` are the tensors that change from run to run; all others are constants."""
    inputs, outputs = (tuple(int(k) for k in node[name] if k >= 0) for name in ("inputs", "outputs"))
    given = [k for k in inputs if k in tensors]
    activations = [k for k in given if k in made] or [k for k in outputs if k in tensors]
    weights = [k for k in given if k not in made and len(tensors[k]["shape"]) > 1]
    name = tensors[outputs[0]]["name"] if outputs and outputs[0] in tensors else ""
    dtypes = [_dtype(tensors[kept[0]]) if kept else "" for kept in (activations, weights)]
    return Operation(int(node["index"]), node["op_name"], name, inputs, outputs, *dtypes)


def _dtype(detail: Mapping[str, Any]) -> str:
    return str(np.dtype(detail["dtype"]).name)


def _bytes(detail: Mapping[str, Any]) -> int:
    """The size of a tensor; one whose shape is known only after a run counts with the axes that are known."""
    return int(np.prod(detail["shape"], dtype=np.int64)) * int(np.dtype(detail["dtype"]).itemsize)


def _inside(node: Mapping[str, Any], operations: Mapping[int, Operation]) -> tuple[int, ...]:
    """The operations that a delegate's node computes."""
    maker = {tensor: k for k, one in operations.items() for tensor in one.outputs}
    stop, found = {int(k) for k in node["inputs"]}, set()
    todo = [int(k) for k in node["outputs"]]
    while todo:
        tensor = todo.pop()
        k = maker.get(tensor)
        if k is not None and k not in found and tensor not in stop:
            found.add(k)
            todo.extend(operations[k].inputs)
    return tuple(sorted(found))


def _reason(left: list[Operation], taken: list[Operation], accelerator: str) -> str:
    """Why operations of one kind stayed with TFLite's kernels, as far as the rest of the graph shows it."""
    kind, dtypes = left[0].kind, Counter((one.activations, one.weights) for one in left)
    [((activations, weights), _)] = dtypes.most_common(1)
    if not accelerator:
        return "no delegate was asked for"
    if kind in _CONTROL:
        return "control flow, which TFLite itself runs"
    if kind.startswith("Flex"):
        return "an operation of TensorFlow itself"
    if activations and not any(one.activations == activations for one in taken):
        return f"{accelerator} took no operation on {activations}"
    on = f"{activations} with {weights} weights" if weights not in ("", activations) else activations
    alike = any((one.kind, one.activations, one.weights) == (kind, activations, weights) for one in taken)
    return f"shapes or options: {accelerator} took others on {on}" if alike else f"{accelerator} took no {kind} on {on}"
