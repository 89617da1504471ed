"""Operations of a SavedModel with effects outside of its graph, found before TensorFlow loads it.

In: the folder of an untrusted SavedModel. Out: its effects on files, the network or Python, or an error. Every
operation of the graphs and of all functions, called or not, must be on the list of those that only compute
(`graph_pure`). Three exceptions are allowed. The saver may name files, in parts of the graph that nothing else uses.
Tables may read the model's own assets, if the initialization is fed their paths. Printing may go to the terminal, but
not into a file. Everything that TensorFlow reads from the folder must be inside of it after links are resolved.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from edgetf.conversion.graph_pure import PURE
from edgetf.conversion.messages import messages
from edgetf.conversion.savedmodel import read_proto
from edgetf.errors import EdgetfError
from edgetf.texts import printable

_RESTORES = {"RestoreV2", "Restore", "RestoreSlice"}
_SAVES = _RESTORES | {"SaveV2", "Save", "SaveSlices", "MergeV2Checkpoints"}
_TEXT_TABLES = {"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"}
_FED = {"Const", "Placeholder"}  # with one output each: an asset's is replaced by its path
_INIT = "__saved_model_init_op"
_PASSES = {"Identity", "StopGradient"}  # their output is their input
_CALLS = {"PartitionedCall": 0, "StatefulPartitionedCall": 0, "If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1}
_STREAMS = {b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)"}
_PROTO = "saved_model.pb"
_CHUNKED = "saved_model.cpb"  # TensorFlow's C++ code prefers it to saved_model.pb
_READ = (_PROTO, _CHUNKED, "saved_model.pbtxt", "fingerprint.pb", "keras_metadata.pb")  # and these folders:
_READ_FOLDERS = ("variables", "assets", "assets.extra", "debug")
_SHOWN = 3
_DOES = {
    "WriteFile": "writes a file",
    "ReadFile": "reads a file",
    "MatchingFiles": "lists files",
    "PrintV2": "prints into a file",
    "ImmutableConst": "reads a file",
    "LoadAndRemapMatrix": "reads a file",
    **dict.fromkeys(_SAVES - _RESTORES, "writes a checkpoint"),
    **dict.fromkeys(_RESTORES, "reads a checkpoint"),
    **dict.fromkeys(_TEXT_TABLES, "reads a file that is not an asset of the model"),
    **dict.fromkeys(("PyFunc", "PyFuncStateless", "EagerPyFunc"), "runs Python code"),
    "Abort": "ends the process",
}
_HINT = "a model is a program: if you trust where it comes from, give --trust; it can do whatever you can"


_Tensor = tuple[str, str]  # the function (empty: the main graph), and the node or argument


@dataclass(frozen=True)
class Effect:
    """An operation with an effect outside of the graph, its effect, and its function (empty: the main graph)."""

    op: str
    does: str
    function: str

    def describe(self) -> str:
        return printable(f"{self.op} {self.does}{f' (in {self.function})' if self.function else ''}")


def refuse_effects(saved_model: Path, trust: bool = False) -> None:
    """Raise EdgetfError for a SavedModel with effects outside of its graph (unless `trust`), pipes or devices."""
    for entry in saved_model.rglob("*"):  # TensorFlow would wait for its end, and Ctrl-C with it
        if entry.exists() and not entry.is_file() and not entry.is_dir():
            raise EdgetfError(f"{entry} is not a plain file", "export the model again")
    effects = () if trust else find_effects(saved_model)
    if effects:
        shown = [effect.describe() for effect in effects[:_SHOWN]]
        rest = f"; and {len(effects) - _SHOWN} more" if len(effects) > _SHOWN else ""
        raise EdgetfError(f"{saved_model} has operations that do not only compute: {'; '.join(shown)}{rest}", _HINT)


def find_effects(saved_model: Path) -> tuple[Effect, ...]:
    """The effects outside of the graph, once for each operation and function. Raises EdgetfError."""
    links = [Effect(name, "is a link that leads out of the model", "") for name in _links_out(saved_model)]
    return tuple(dict.fromkeys([*links, *_of_graphs(saved_model)]))


def link_model(saved_model: Path, out: Path) -> Path:
    """Write a copy of a SavedModel's graph to `out`, with links to its other files, which hold no operations."""
    out.mkdir(parents=True)
    for entry in saved_model.iterdir():
        if entry.name == _PROTO:
            shutil.copyfile(entry, out / _PROTO)
        else:
            (out / entry.name).symlink_to(entry.resolve())
    return out


def refuse_exchanged(private: Path, saved_model: Path, trust: bool = False) -> None:
    """Raise EdgetfError if `private`, a copy that is about to be loaded, has effects although `saved_model` had none
    when `refuse_effects` read it, unless `trust`."""
    if not trust and _of_graphs(private):
        raise EdgetfError(f"{saved_model} changed while edgetf read it", "run the command again")


def _of_graphs(saved_model: Path) -> list[Effect]:
    """The effects of the graphs alone; links are not examined."""
    found = []
    if (saved_model / _CHUNKED).exists():
        found.append(Effect(_CHUNKED, f"is another model beside {_PROTO}", ""))
    try:
        for graph in read_proto(saved_model).meta_graphs:
            found += _Graph(graph).effects()
    except (KeyError, IndexError) as error:  # a reference to a missing node
        problem = f"{saved_model / _PROTO} is damaged: its graph is inconsistent"
        raise EdgetfError(problem, "export it again") from error
    return found


class _Graph:
    """One meta graph: its nodes, its functions, and the references between them."""

    def __init__(self, meta: Any) -> None:
        self._meta = meta
        library = meta.graph_def.library
        self._nodes = {node.name: node for node in meta.graph_def.node}
        self._functions = {function.signature.name: function for function in library.function}
        self._bodies = {"": self._nodes}
        self._bodies |= {name: {node.name: node for node in one.node_def} for name, one in self._functions.items()}
        self._gradients = {name for one in library.gradient for name in (one.function_name, one.gradient_func)}
        listed = len(meta.graph_def.node) + sum(len(one.node_def) for one in self._functions.values())
        self._is_clear = len(self._functions) == len(library.function) and "" not in self._functions
        self._is_clear &= sum(map(len, self._bodies.values())) == listed

    def effects(self) -> Iterator[Effect]:
        if not self._is_clear:
            yield Effect("a name", "stands for two operations or functions", "")
        for node in self._nodes.values():
            live = node.name in self._live
            allowed = set() if live else _RESTORES if node.name in self._restoring else _SAVES
            yield from self._effect(node, "", allowed)
        restored = self._reached(self._nodes[name] for name in self._restoring - self._live)
        saved = self._reached(node for node in self._nodes.values() if node.name not in self._live)
        for name, function in self._functions.items():
            allowed = _RESTORES if name in restored else _SAVES if name in saved else set()
            for node in function.node_def:
                yield from self._effect(node, name, set() if name in self._used else allowed)
        for asset in dict.fromkeys(asset.filename for asset in self._asset_files):
            if not _is_inside(asset):
                yield Effect("asset", f"{asset} is outside of the model", "")

    def _effect(self, node: Any, function: str, files: set[str]) -> Iterator[Effect]:
        op = node.op
        if op in PURE or op in files or op in self._functions:
            return
        if op == "PrintV2" and node.attr["output_stream"].s in _STREAMS | {b""}:
            return
        if op in _TEXT_TABLES and len(node.input) > 1 and (function, _node(node.input[1])) not in self._strays:
            return
        yield Effect(op, _DOES.get(op, "is not known to only compute"), function)

    # what runs ------------------------------------------------------------------------------------------------------

    @cached_property
    def _live(self) -> set[str]:
        """Nodes of the graph that signatures and the initialization need."""
        roots = [name for one in self._meta.signature_def.values() for name in _outputs(one)]
        roots += [name for one in self._meta.collection_def.values() for name in one.node_list.value]
        return self._before(roots)

    @cached_property
    def _restoring(self) -> set[str]:
        return self._before([self._meta.saver_def.restore_op_name])

    @cached_property
    def _used(self) -> set[str]:
        """Functions that callers other than the saver can reach."""
        objects = self._meta.object_graph_def
        roots = [*self._gradients, *objects.concrete_functions]
        for one in objects.nodes:
            roots += [*one.function.concrete_functions, one.bare_concrete_function.concrete_function_name]
        bodies = [node for name in roots if name in self._functions for node in self._functions[name].node_def]
        live = [self._nodes[name] for name in self._live]
        return {name for name in roots if name in self._functions} | self._reached([*bodies, *live])

    def _before(self, names: Iterable[str]) -> set[str]:
        """The named nodes of the graph, and those that they depend on."""
        found: set[str] = set()
        waiting = [_node(name) for name in names]
        while waiting:
            name = waiting.pop()
            if name in self._nodes and name not in found:
                found.add(name)
                waiting += map(_node, self._nodes[name].input)
        return found

    def _reached(self, nodes: Iterable[Any]) -> set[str]:
        """The functions that nodes call, directly or through other functions."""
        found: set[str] = set()
        waiting = [name for node in nodes for name in self._called(node)]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [other for node in self._functions[name].node_def for other in self._called(node)]
        return found

    def _called(self, node: Any) -> list[str]:
        return [name for name in (node.op, *_named(node.attr)) if name in self._functions]

    # assets ---------------------------------------------------------------------------------------------------------

    @cached_property
    def _asset_files(self) -> list[Any]:
        assets = list(self._meta.asset_file_def)
        if not assets:
            for packed in self._meta.collection_def["saved_model_assets"].any_list.value:
                assets.append(messages().AssetFileDef())
                packed.Unpack(assets[-1])
        return assets

    @cached_property
    def _assets(self) -> set[str]:
        """The nodes of the graph that the initialization replaces by the paths of assets."""
        return {_node(asset.tensor_info.name) for asset in self._asset_files}

    @cached_property
    def _unfed(self) -> set[str]:
        """Nodes of the graph that can run without the paths of assets, which only the initialization is fed."""
        signatures, saver = self._meta.signature_def, self._meta.saver_def
        roots = [n for key, one in signatures.items() if key != _INIT or one.inputs for n in _outputs(one)]
        return self._before([*roots, saver.restore_op_name, saver.save_tensor_name])

    @cached_property
    def _strays(self) -> set[_Tensor]:
        """File names of tables, and the tensors they come from, that may be something other than an asset's path.

        Each tensor is visited once. Then the property "not an asset" is propagated to the consumers of a tensor.
        """
        named = [(where, node) for where, body in self._bodies.items() for node in body.values()]
        seen = {(where, _node(node.input[1])) for where, node in named if node.op in _TEXT_TABLES and node.input[1:]}
        strays: set[_Tensor] = set()
        takers: dict[_Tensor, list[_Tensor]] = {}
        waiting = list(seen)
        while waiting:
            tensor = waiting.pop()
            origins = self._origins(*tensor)
            if origins is None:
                strays.add(tensor)
            for origin in origins or ():
                takers.setdefault(origin, []).append(tensor)
                if origin not in seen:
                    seen.add(origin)
                    waiting.append(origin)
        waiting = list(strays)
        while waiting:
            new = set(takers.get(waiting.pop(), ())) - strays
            strays |= new
            waiting += new
        return strays

    def _origins(self, function: str, name: str) -> list[_Tensor] | None:
        """The tensors that a tensor may come from: empty for an asset, None for anything unknown."""
        if function and (index := self._arguments[function].get(name)) is not None:
            return self._given(function, index)
        node = self._bodies[function].get(name)
        if node is None:
            return None
        if not function and node.op == "ReadVariableOp":
            return self._written(_node(node.input[0]))
        if not function and name in self._assets:
            return [] if node.op in _FED and name not in self._unfed else None
        return [(function, _node(node.input[0]))] if node.op in _PASSES and node.input else None

    def _written(self, variable: str) -> list[_Tensor] | None:
        """The tensors that a variable is ever set to: TensorFlow 2 keeps the path of an asset in a variable."""
        handles = self._handles[self._nodes[variable].attr["shared_name"].s]
        uses = self._uses.get(variable, [])
        values = [("", _node(node.input[1])) for node in uses if node.op == "AssignVariableOp"]
        harmless = all(node.op in ("AssignVariableOp", "ReadVariableOp", "VarIsInitializedOp") for node in uses)
        return values if handles == 1 and harmless and values else None

    def _given(self, function: str, index: int) -> list[_Tensor] | None:
        """The tensors that callers pass to a function as argument `index`."""
        given: list[_Tensor] = []
        objects, callers = self._meta.object_graph_def, self._callers.get(function, [])
        is_bound = function in objects.concrete_functions
        if is_bound:
            bound = objects.concrete_functions[function].bound_inputs
            at = index - len(self._functions[function].signature.input_arg) + len(bound)
            if at < 0 or objects.nodes[bound[at]].WhichOneof("kind") != "asset":
                return None
        for where, node in callers:
            at = index + (0 if node.op == function else _CALLS.get(node.op, len(node.input)))
            if at >= len(node.input):
                return None
            given.append((where, _node(node.input[at])))
        return given if (is_bound or callers) and function not in self._gradients else None

    @cached_property
    def _arguments(self) -> dict[str, dict[str, int]]:
        """The positions of the arguments of each function."""
        functions = self._functions.items()
        return {name: {arg.name: k for k, arg in enumerate(one.signature.input_arg)} for name, one in functions}

    @cached_property
    def _callers(self) -> dict[str, list[tuple[str, Any]]]:
        """The nodes that call each function, and the functions that contain those nodes."""
        callers: dict[str, list[tuple[str, Any]]] = {}
        for where, body in self._bodies.items():
            for node in body.values():
                for name in set(self._called(node)):
                    callers.setdefault(name, []).append((where, node))
        return callers

    @cached_property
    def _handles(self) -> Counter[bytes]:
        """The number of handles of each variable, by its shared name."""
        nodes = (node for body in self._bodies.values() for node in body.values())
        return Counter(node.attr["shared_name"].s for node in nodes if node.op == "VarHandleOp")

    @cached_property
    def _uses(self) -> dict[str, list[Any]]:
        """The consumers of each node of the graph."""
        uses: dict[str, list[Any]] = {}
        for node in self._nodes.values():
            for name in set(map(_node, node.input)):
                uses.setdefault(name, []).append(node)
        return uses


def _outputs(signature: Any) -> Iterator[str]:
    """The names of all inputs and outputs of a signature, including the parts of composite tensors."""
    waiting = [*signature.outputs.values(), *signature.inputs.values()]
    while waiting:
        info = waiting.pop()
        yield from (info.name, info.coo_sparse.values_tensor_name, info.coo_sparse.indices_tensor_name)
        yield info.coo_sparse.dense_shape_tensor_name
        waiting += info.composite_tensor.components


def _named(attributes: Mapping[str, Any]) -> Iterator[str]:
    """The functions that attributes name, including those in the attributes of other functions."""
    for value in attributes.values():
        for function in (value.func, *value.list.func):
            yield function.name
            yield from _named(function.attr)


def _node(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]


def _links_out(saved_model: Path) -> Iterator[str]:
    """The links that lead out of the model, by their paths in it, among the files that TensorFlow reads."""
    inside, seen = Path(os.path.realpath(saved_model)), set[Path]()
    waiting = [inside / name for name in (*_READ, *_READ_FOLDERS)]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if path.is_symlink():
            target = Path(os.path.realpath(path))
            if target.is_relative_to(inside):
                waiting.append(target)
            else:
                yield path.relative_to(inside).as_posix()
        elif path.is_dir():
            waiting += path.iterdir()


def _is_inside(filename: str) -> bool:
    path = PurePosixPath(filename)
    return not path.is_absolute() and ".." not in path.parts
