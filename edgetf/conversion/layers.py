"""Keras's layer names for the scopes of an exported graph: a SavedModel in, `{scope: layer}` out.

TensorFlow makes each scope's name unique within a graph, and Keras 3 enters a layer's scope twice per call: `conv2d`
computes in the scope `conv2d_1`, and `conv2d_1` in `conv2d_1_2`. The variables keep the layers' names. Which scope
reads which variable shows how an export numbers its scopes, and from that the names of layers without variables follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from edgetf.conversion.savedmodel import read_graph
from edgetf.errors import NoLayerError, nearest

_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_COUNTED = re.compile(r"(.+)_\d+")
# the name of a node, and the names of the variables among its inputs
Use = tuple[str, tuple[str, ...]]


def find_layers(saved_model: Path, signature: str) -> dict[str, str]:
    """The Keras layer of each scope whose last part differs from the layer's name, and of each output."""
    graph = read_graph(saved_model)
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    nodes = {node.name: node for node in graph.graph_def.node}
    variables = {node.name: node.attr["shared_name"].s.decode() for node in nodes.values() if node.op == "VarHandleOp"}
    outputs = {info.name: "" for info in graph.signature_def[signature].outputs.values()}
    asked = {name: nodes[name] for name in (output.split(":")[0] for output in outputs)}
    uses = list(_uses(asked, variables, functions))
    evidence = [(name, variable) for name, given in uses for variable in given if "/" in variable]
    counted = sum(_is_counted(name, variable) for name, variable in evidence) > len(evidence) / 2
    owners = {layer for _, variable in evidence for layer in variable.split("/")[:-1]}
    found = {}
    for name, _ in uses:
        scope = name.rpartition("/")[0]
        if scope and scope not in found and (layer := _layer_of(scope, owners, counted)):
            found[scope] = layer
    for output in outputs:
        outputs[output] = found.get(_maker(output, nodes, functions).rpartition("/")[0], "")
    scopes = {scope: layer for scope, layer in found.items() if scope.rpartition("/")[2] != layer}
    return {**scopes, **{output: layer for output, layer in outputs.items() if layer}}


def _uses(nodes: Mapping[str, Any], variables: Mapping[str, str], functions: Mapping[str, Any]) -> Iterator[Use]:
    """Every node that a call reaches, with the names of the variables among its inputs."""
    for node in nodes.values():
        given = [variables.get(one.split(":")[0], "") for one in node.input if not one.startswith("^")]
        if node.op in _CALLS and (function := functions.get(node.attr["f"].func.name)) is not None:
            names = [argument.name for argument in function.signature.input_arg]
            inner = {name: variable for name, variable in zip(names, given, strict=False) if variable}
            yield from _uses({one.name: one for one in function.node_def}, inner, functions)
        else:
            yield node.name, tuple(filter(None, given))


def _is_counted(name: str, variable: str) -> bool:
    """Whether the scope of a node that reads a variable is the name of the variable's layer with a number appended."""
    scopes = name.split("/")[:-1]
    own = [layer for layer in variable.split("/")[:-1] if layer not in scopes]
    return any(found[1] in own for scope in scopes if (found := _COUNTED.fullmatch(scope)))


def _layer_of(scope: str, owners: set[str], counted: bool) -> str | None:
    """The layer of a scope: below the model's name, the first that owns variables, otherwise the last."""
    parts = scope.split("/")[1:]
    # scopes inside of a layer, such as `batchnorm`, are entered once and have no number
    names = [found[1] for part in parts if (found := _COUNTED.fullmatch(part))] if counted else parts
    owning = [name for name in names if name in owners]
    return owning[0] if owning else names[-1] if names else None


def _maker(tensor: str, nodes: Mapping[str, Any], functions: Mapping[str, Any]) -> str:
    """The name of the node that computes a tensor, found through calls and identities."""
    while True:
        name, *rest = tensor.split(":")
        node = nodes.get(name)
        if node is None:
            return name
        if node.op == "Identity":
            tensor = node.input[0]
        elif node.op in _CALLS and (function := functions.get(node.attr["f"].func.name)) is not None:
            outputs = [argument.name for argument in function.signature.output_arg]
            tensor = function.ret[outputs[int(rest[-1]) if rest else 0]]
            nodes = {one.name: one for one in function.node_def}
        else:
            return name


def layer_of(tensor: str, names: Mapping[str, str]) -> str:
    """The Keras layer that a tensor is named after, as `model/conv2d_1/Relu;model/...`; other names are kept.

    `names` gives the layers of scopes that are called otherwise, and of outputs.
    """
    first = tensor.split(";")[0]
    output = re.match(r".*?:\d", first)  # what is made of an output, such as its quantized twin, has digits behind it
    if output is not None and output[0] in names:
        return names[output[0]]
    parts = [part for part in first.split("/") if part]
    for begin in range(len(parts) - 1):  # a call may stand in front
        if (scope := "/".join(parts[begin:-1])) in names:
            return names[scope]
    return parts[-2] if len(parts) > 1 else tensor


def matching_layers(patterns: Sequence[str], tensors: Sequence[str], names: Mapping[str, str]) -> list[int]:
    """The numbers of the operations whose layer has a name that one of `patterns` (`*` and `?` as in a shell) matches.

    `tensors` are those of the operations' outputs. Raises NoLayerError for a pattern that no layer has.
    """
    layers = [layer_of(tensor, names) for tensor in tensors]
    for pattern in patterns:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            raise NoLayerError(f"the model has no layer {pattern!r}", nearest(pattern, sorted(set(layers))))
    return [k for k, layer in enumerate(layers) if any(fnmatchcase(layer, pattern) for pattern in patterns)]
