"""What loading a Keras file would run or import, found in the dicts of its configuration without loading anything.

In: one dict of the configuration at a time. Out: findings. Every rule is a list of what is allowed, because Keras takes
names of modules, classes and functions from the file and looks them up in several places.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgetf.conversion.keras_pure import BACKEND, KINDS, OPERATIONS
from edgetf.texts import printable

# Keras's own packages, and those that edgetf trains with
_OWN_PACKAGES = {"keras", "tf_keras", "keras_hub", "keras_cv", "keras_nlp", "tensorflow_model_optimization"}
_INNER = {"src", "python", "core"}  # folders inside a package, which its public names leave out
_FUNCTION_MODULES = {
    "activations",
    "backend",
    "constraints",
    "initializers",
    "losses",
    "metrics",
    "ops",
    "random",
    "regularizers",
}
_CLASS_MODULES = _FUNCTION_MODULES - {"backend"} | {
    "clustering",
    "distillation",
    "dtype_policies",
    "engine",
    "experimental",
    "feature_column",
    "legacy",
    "mixed_precision",
    "models",
    "optimizers",
    "premade_models",
    "layers",
    "quantization",
    "quantizers",
    "samplers",
    "sparsity",
    "tokenizers",
}
_CLASSES_ELSEWHERE = {"Cross", "CustomScaleLayer", "Feature", "FeatureSpace", "LayerScale", "StochasticDepth"}
_CLASSES_IN_SMALL = {
    *("l1", "l2", "l1_l2", "orthogonal_regularizer", "max_norm", "min_max_norm", "non_neg", "unit_norm"),
    *("constant", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "identity", "lecun_normal"),
    *("lecun_uniform", "ones", "orthogonal", "random_normal", "random_uniform", "truncated_normal"),
    *("variance_scaling", "zeros"),
}
_LOADERS = {"deserialize", "deserialize_keras_object", "get", "serialize", "serialize_keras_object"}
_SPECIAL = {"function", "__lambda__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"} | {
    *("__keras_tensor__", "__tuple__", "__typespec__"),
}
_PATHS = ("vocabulary", "merges")
_BRINGS = {"TFSMLayer": "another model, by its path", "TorchModuleWrapper": "pickled code"}
_RAGGED = """
    values flat_values row_splits nested_row_splits value_rowids nested_value_rowids nrows row_starts row_limits
    row_lengths nested_row_lengths bounding_shape with_values with_flat_values with_row_splits_dtype merge_dims
    to_tensor to_sparse indices dense_shape
"""
_MAKES_RAGGED = """
    from_value_rowids from_row_splits from_row_lengths from_row_starts from_row_limits from_uniform_row_length
    from_nested_value_rowids from_nested_row_splits from_nested_row_lengths from_tensor from_sparse
"""
_NODE_OP = 2  # the number of the field `op` in a NodeDef


@dataclass(frozen=True)
class Finding:
    """A description of something that loading the file would run; `module` is the module to import, if any."""

    what: str
    module: str = ""


def findings_of(one: dict[str, Any]) -> Iterator[Finding]:
    """The findings in one dict of the configuration."""
    name, config, module = one.get("class_name"), one.get("config"), one.get("module")
    if name == "__lambda__" or any(key.endswith("_type") and value == "lambda" for key, value in one.items()):
        yield Finding("code (a Lambda)")
    if not isinstance(name, str):
        return
    yield from _finding_of_layer(_bare(name), config if isinstance(config, dict) else {})
    if not _is_registered_as(name, config, one.get("registered_name")):
        yield Finding(f"a class or function under another name ({one['registered_name']})")
    if module is None:  # looked up by name, among Keras's classes and registered objects
        if "config" in one and not (">" in name or name in _SPECIAL or _is_class(name)):
            yield Finding(f"the function {name}")
    elif name == "function":
        yield from _finding_of_function(str(module), str(config))
    else:
        yield from _finding_of_class(str(module), name)


def _finding_of_layer(name: str, config: dict[str, Any]) -> Iterator[Finding]:
    if name == "Lambda" and isinstance(config.get("function"), list):
        yield Finding("code (a Lambda)")
    elif name in _BRINGS:
        yield Finding(f"{_BRINGS[name]} ({name})")
    elif name in _CALLS and not _CALLS[name](config):
        yield Finding(f"an operation that can reach files or code ({name})")
    for key in _PATHS:  # Keras 2 reads any path here; an embedded vocabulary is a list, or an asset of the file
        if isinstance(config.get(key), str):
            yield Finding(f"a {key} that is read from {printable(config[key])} ({name})")


def _bare(name: str) -> str:
    return name.rpartition(">")[2]


def _is_class(name: str) -> bool:
    return name.isidentifier() and (name.lstrip("_")[:1].isupper() or name in _CLASSES_IN_SMALL)


def _is_registered_as(name: str, config: Any, registered: Any) -> bool:
    """Whether the registered name refers to the same object: Keras 2 looks it up if the other name is missing.

    A name with a package, `package>Name`, is looked up only among the classes that are registered.
    """
    if registered is None or registered == name or (name == "function" and registered == config):
        return True
    if not isinstance(registered, str) or ">" not in registered:
        return False
    bare = _bare(registered)
    return bare == _bare(name) or bare not in {"Lambda", *_BRINGS, *_CALLS}


def _finding_of_class(module: str, name: str) -> Iterator[Finding]:
    package, *parts = module.split(".")
    if package not in _OWN_PACKAGES:
        yield Finding(f"the class {name} of the module {module}", module)
        return
    parts = [part for part in parts if part not in _INNER]
    known = not parts or parts[0] in _CLASS_MODULES
    if not _is_class(name):
        yield Finding(f"the function {module}.{name}")
    elif not known and name not in _CLASSES_ELSEWHERE:
        yield Finding(f"{module}.{name}, which is not a layer or a part of one")


def _finding_of_function(module: str, name: str) -> Iterator[Finding]:
    package, *parts = module.split(".")
    if module == "builtins":
        # Keras 2 falls back to Python's builtins, including `eval` and `str.format`; a registered name has a package
        if ">" not in name and (hasattr(builtins, name) or not name.isidentifier()):
            yield Finding(f"Python's function {name}")
        return
    if package not in _OWN_PACKAGES:
        yield Finding(f"the function {name} of the module {module}", module)
        return
    parts = [part for part in parts if part not in _INNER]
    known = parts[:1] != ["backend"] or (parts == ["backend"] and name in BACKEND)
    public = name.isidentifier() and not name.startswith("_") and name not in _LOADERS
    if not (parts and parts[0] in _FUNCTION_MODULES and known and public):
        yield Finding(f"the function {module}.{name}")


# layers that call TensorFlow by name ----------------------------------------------------------------------------------


def _computes(config: dict[str, Any]) -> bool:
    symbol = re.sub(r"^compat\.v[12]\.", "", str(config.get("function")))
    if symbol.startswith("keras."):
        module, _, name = symbol.rpartition(".")
        return not any(_finding_of_function(module, name))
    return symbol in OPERATIONS


def _makes_ragged(config: dict[str, Any]) -> bool:
    return config.get("cls_symbol") == "RaggedTensor" and config.get("method_name") in _MAKES_RAGGED.split()


def _is_node(config: dict[str, Any]) -> bool:
    """Whether a node of a graph (a dict, or the text of its protocol buffer) is of a kind that only computes."""
    node = config.get("node_def")
    if isinstance(node, dict):
        return str(node.get("op")) in KINDS
    kinds = _kinds(node.encode()) if isinstance(node, str) else []
    return bool(kinds) and all(kind in KINDS for kind in kinds)


def _kinds(message: bytes) -> list[str]:
    """Every value of the field `op` in a NodeDef; empty for a message that is not clearly a NodeDef."""
    kinds, at = [], 0
    while at < len(message):
        tag, length, shift = message[at], 0, 0
        at += 1
        if tag & 7 != 2 or tag > 127:  # all fields of a NodeDef are length-delimited, with numbers below 16
            return []
        while at < len(message):
            byte = message[at]
            length |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                break
        if at + length > len(message) or shift > 35:
            return []
        if tag >> 3 == _NODE_OP:
            kinds.append(message[at : at + length].decode(errors="replace"))
        at += length
    return kinds


_CALLS = {
    "TFOpLambda": _computes,
    "SlicingOpLambda": _computes,
    "ClassMethod": _makes_ragged,
    "InstanceProperty": lambda config: config.get("attr_name") in _RAGGED.split(),
    "InstanceMethod": lambda config: config.get("attr_name") in _RAGGED.split(),
    "TensorFlowOpLayer": _is_node,
}
