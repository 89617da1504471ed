"""The digest of what a signature of a SavedModel computes: its graph and the values of its variables.

Two exports of the same weights have the same digest. Ignored are: names of nodes, layers, functions and variables, the
order of nodes, dates, fingerprints, the state of an optimizer, and other signatures. Included are: names and types of
the signature's inputs and outputs, and every operation, attribute and value that an output depends on.

The hash of a node covers its operation, its attributes and the hashes of its inputs. Calls are followed into the
function, with the hashes of the arguments. A variable is hashed by its value, which is read from the checkpoint without
loading the graph. Its key in the checkpoint is found in the function that restores it, which `saver_def` names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.backend import load_tensorflow
from edgetf.conversion.checkpoint import Checkpoint
from edgetf.conversion.messages import NeedsTensorFlowError, read_tensor
from edgetf.files import sha256_file, sha256_tree

_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_SAME = {"Identity", "StopGradient", "PreventGradient"}  # their output is their input
_NAMES = {"shared_name", "container", "debug_name", "config", "config_proto", "executor_type", "allowed_devices"}
_MOST = 500_000  # nodes, also of functions that are called again: each of twenty may call the next one twice
_NODE_BYTES = 4096  # of a constant that count as a node
_TABLES = ("HashTable", "MutableHashTable", "MutableDenseHashTable", "AnonymousHashTable")


def digest_of(saved_model: Path, graph: Any, signature: str, pure: bool = False) -> str:
    """SHA-256, in hex, of what `signature` of the meta graph `graph` computes.

    A graph that TensorFlow 2 did not save gets the digest of the folder's bytes. TensorFlow is loaded only for rare
    values, such as texts in a checkpoint; if `pure`, these raise NeedsTensorFlowError.
    """
    try:
        return _Hasher(saved_model, graph, pure).digest(signature)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError, RecursionError, RuntimeError):
        return sha256_tree(saved_model)


def _sha(*parts: str | bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


class _Hasher:
    """Hashes of one meta graph. Each function and each variable's value is hashed once."""

    def __init__(self, saved_model: Path, graph: Any, pure: bool) -> None:
        self._folder, self._graph, self._pure = saved_model, graph, pure
        self._functions = {function.signature.name: function for function in graph.graph_def.library.function}
        self._nodes = {node.name: node for node in graph.graph_def.node}
        self._keys = checkpoint_keys(graph)
        self._bodies: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._variables = saved_model / "variables" / "variables"
        self._reader: Any = Checkpoint(self._variables)
        self._read_nodes = 0

    def digest(self, signature: str) -> str:
        """The hash of everything that the signature's outputs and effects depend on."""
        chosen = self._graph.signature_def[signature]
        placeholders = {info.name.split(":")[0]: (name, info) for name, info in chosen.inputs.items()}
        scope = _Scope(self, self._nodes, self._main_leaf(placeholders))
        outputs = [f"{name} {scope.tensor(info.name)} {info.dtype}" for name, info in sorted(chosen.outputs.items())]
        return _sha("signature", *outputs, "effects", *sorted(scope.effects))

    def _main_leaf(self, placeholders: Mapping[str, tuple[str, Any]]) -> Callable[[Any], str | None]:
        def leaf(node: Any) -> str | None:
            if node.name in placeholders:
                name, info = placeholders[node.name]
                return _sha("input", name, str(info.dtype), info.tensor_shape.SerializeToString(deterministic=True))
            if node.op == "VarHandleOp":
                return _sha("variable", self._attributes(node), self._value(self._keys[node.name]))
            if node.op.startswith(_TABLES):
                return _sha("table", node.op, self._attributes(node), *self._contents(node))
            return None

        return leaf

    def _contents(self, table: Any) -> list[str]:
        """Hashes of the calls that fill a table: all that take it, except those of signatures, which have inputs."""

        def leaf(node: Any) -> str | None:
            if node.name == table.name:
                return _sha("this table")
            if node.op == "VarHandleOp" or node.op.startswith(_TABLES) or node.op.startswith("Placeholder"):
                raise _NotInitialError
            return self._asset(node)

        found = []
        for node in self._nodes.values():
            if table.name in (one.split(":")[0] for one in node.input):
                scope = _Scope(self, self._nodes, leaf)
                try:
                    found.append(_sha(scope.node(node.name), *sorted(scope.effects)))
                except _NotInitialError:
                    continue
        return sorted(found)

    def _asset(self, node: Any) -> str | None:
        """The hash of the file's content, for a constant that names a file of the SavedModel."""
        for asset in self._graph.asset_file_def:
            if asset.tensor_info.name.split(":")[0] == node.name:
                return _sha("asset", sha256_file(self._folder / "assets" / asset.filename))
        return None

    def _value(self, key: str) -> str:
        if key not in self._values:
            value = self._read(key)
            self._values[key] = _sha(str(value.dtype), str(value.shape), _bytes_of(value))
        return self._values[key]

    def _read(self, key: str) -> Any:
        try:
            return self._reader.get_tensor(key)
        except NeedsTensorFlowError:
            if self._pure:
                raise
        self._reader = load_tensorflow().train.load_checkpoint(str(self._variables))
        return self._reader.get_tensor(key)

    def _attributes(self, node: Any) -> str:
        found = []
        for name, value in sorted(node.attr.items()):
            if name.startswith("_") or name in _NAMES:
                continue
            if value.HasField("func"):
                found.append(f"{name}={self._body(value.func.name)}")
            elif value.list.func:
                found.append(f"{name}={[self._body(one.name) for one in value.list.func]}")
            elif value.HasField("tensor"):  # a value has several encodings
                found.append(f"{name}={self._constant(value.tensor)}")
            else:
                found.append(f"{name}={value.SerializeToString(deterministic=True).hex()}")
        return _sha(node.op, *found)

    def _constant(self, tensor: Any) -> str:
        try:
            array = read_tensor(tensor)
        except NeedsTensorFlowError:
            if self._pure:
                raise
            array = load_tensorflow().make_ndarray(tensor)
        self._count(array.nbytes // _NODE_BYTES)
        return _sha(str(tensor.dtype), str(array.shape), _bytes_of(array))

    def _body(self, name: str) -> str:
        """The hash of a function without its arguments, as the body of a loop or a branch."""
        if name not in self._bodies:
            self._bodies[name] = "recursive"
            function = self._functions[name]
            arguments = [_sha("argument", str(k)) for k in range(len(function.signature.input_arg))]
            outputs, effects = self.call(name, arguments)
            self._bodies[name] = _sha("body", *outputs, "effects", *sorted(effects))
        return self._bodies[name]

    def call(self, name: str, arguments: Sequence[str]) -> tuple[list[str], set[str]]:
        """The hashes of a function's outputs and of its side effects, given the hashes of its arguments."""
        function = self._functions[name]
        self._count(1 + len(function.node_def))
        given = dict(zip((arg.name for arg in function.signature.input_arg), arguments, strict=True))
        nodes = {node.name: node for node in function.node_def}
        scope = _Scope(self, nodes, lambda node: None, given)
        outputs = [scope.tensor(function.ret[arg.name]) for arg in function.signature.output_arg]
        for node in function.node_def:
            if node.op in _CALLS or _changes(node.op):
                scope.node(node.name)
        return outputs, scope.effects

    def attributes(self, node: Any) -> str:
        return self._attributes(node)

    def _count(self, nodes: int) -> None:
        """Raise ValueError if a short file stands for more than a model has."""
        self._read_nodes += nodes
        if self._read_nodes > _MOST:
            raise ValueError(f"the functions of {self._folder} call each other too often")


def checkpoint_keys(graph: Any) -> dict[str, str]:
    """The checkpoint key of each variable, by the name of the node that outputs its handle.

    None for a meta graph that TensorFlow 2 did not save.
    """
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    restores = [n for n in graph.graph_def.node if n.name == graph.saver_def.restore_op_name.split(":")[0]]
    if not restores or "f" not in restores[0].attr:
        return {}
    function = functions[restores[0].attr["f"].func.name]
    handles = dict(zip([arg.name for arg in function.signature.input_arg], restores[0].input, strict=False))
    nodes = {node.name: node for node in function.node_def}
    keys = {}
    for node in nodes.values():
        if node.op != "AssignVariableOp":
            continue
        source = nodes[node.input[1].split(":")[0]]
        index = node.input[1].split(":")[-1]
        for _ in nodes:  # at most: it may be part of a cycle
            if source.op not in _SAME:
                break
            index = source.input[0].split(":")[-1]
            source = nodes[source.input[0].split(":")[0]]
        names = nodes[source.input[1].split(":")[0]].attr["value"].tensor.string_val
        keys[handles[node.input[0]].split(":")[0]] = names[int(index)].decode()
    return keys


def _bytes_of(array: Any) -> bytes | memoryview:
    """The bytes of a value; a large one that is mapped from a file is not copied."""
    if array.dtype == object:
        return repr(array.tolist()).encode()
    return memoryview(array.reshape(-1).view(np.uint8))


class _NotInitialError(Exception):
    """A call that takes a table does not fill it."""


def _changes(op: str) -> bool:
    return op.startswith(("Assign", "LookupTableInsert", "LookupTableImport", "InitializeTable", "ResourceScatter"))


class _Scope:
    """The nodes of the main graph, or of a function that is called with `given` arguments."""

    def __init__(
        self,
        hasher: _Hasher,
        nodes: Mapping[str, Any],
        leaf: Callable[[Any], str | None],
        given: Mapping[str, str] | None = None,
    ) -> None:
        self._hasher, self._nodes, self._leaf, self._given = hasher, nodes, leaf, given or {}
        self._known: dict[str, str] = {}
        self._calls: dict[str, list[str]] = {}
        self.effects: set[str] = set()

    def tensor(self, name: str) -> str:
        """The hash of a tensor: `node`, `node:1` in the main graph, `node:output:1` in a function."""
        node, *rest = name.split(":")
        if node in self._given:
            return self._given[node]
        whole = self.node(node)
        if node in self._calls:
            return self._calls[node][int(rest[-1]) if rest else 0]
        if self._nodes[node].op in _SAME:
            return whole
        return _sha(whole, "" if rest == ["0"] else ":".join(rest))

    def node(self, name: str) -> str:
        """The hash of a node and of everything that it depends on."""
        waiting = [name]
        while waiting:  # a network may be deeper than Python's stack
            at = waiting[-1]
            if at in self._known:
                waiting.pop()
                continue
            node = self._nodes[at]
            if (leaf := self._leaf(node)) is not None:
                self._known[at] = leaf
                continue
            missing = [
                before
                for one in node.input
                if not one.startswith("^")
                and (before := one.split(":")[0]) not in self._known
                and before not in self._given
            ]
            if missing:
                if len(waiting) > 2 * len(self._nodes) + 10:
                    raise ValueError(f"{name} is part of a cycle")
                waiting += missing
                continue
            self._known[at] = self._hash(node)
        return self._known[name]

    def _hash(self, node: Any) -> str:
        inputs = [self.tensor(one) for one in node.input if not one.startswith("^")]
        if node.op in _SAME:
            return inputs[0]
        if node.op in _CALLS:
            outputs, effects = self._hasher.call(node.attr["f"].func.name, inputs)
            self._calls[node.name] = outputs
            self.effects |= effects
            return _sha("call", *outputs)
        found = _sha("node", self._hasher.attributes(node), *inputs)
        if _changes(node.op):
            self.effects.add(found)
        return found
