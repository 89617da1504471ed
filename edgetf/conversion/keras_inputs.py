"""The inputs of a Keras model, from its configuration. In: the configuration in a Keras file. Out: InputLayers.

They are those of the SavedModel that the file is exported to, so that samples are refused before TensorFlow is started.
What its configuration does not state (a subclassed model, a Sequential without an input layer) has none here. The
documents, which have TensorSpecs, are not imported: each Keras file is read in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

_DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
_SHAPES = ("batch_shape", "batch_input_shape")  # of Keras 3, of Keras 2


class InputLayer(NamedTuple):
    """An input as in a TensorSpec."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


def inputs_of_config(config: dict[str, Any], keeps_batch: bool = False) -> tuple[InputLayer, ...]:
    """The inputs by name; empty if the configuration does not state them all.

    Each has a free batch axis, or the one that it states if the export `keeps_batch`, as that of Keras 2 does.
    """
    model = config.get("config")
    if not isinstance(model, dict) or not isinstance(layers := model.get("layers"), list):
        return ()
    if config.get("class_name") == "Sequential":
        names = [_config(layers[0]).get("name")] if layers else []
    else:
        names = list(_names(model.get("input_layers")))
    specs = {name: _spec(name, layer, keeps_batch) for layer in layers if (name := _config(layer).get("name")) in names}
    found = [spec for spec in specs.values() if spec is not None]
    if not names or len(found) != len(names):
        return ()
    return tuple(sorted(found, key=lambda spec: spec.name))


def _names(layers: Any) -> Iterator[Any]:
    """The names in `input_layers`: [name, 0, 0], or lists or dicts of these."""
    if isinstance(layers, list) and len(layers) == 3 and isinstance(layers[0], str) and isinstance(layers[1], int):
        yield layers[0]
    elif isinstance(layers, (list, dict)):
        for one in layers.values() if isinstance(layers, dict) else layers:
            yield from _names(one)


def _config(layer: Any) -> dict[str, Any]:
    config = layer.get("config") if isinstance(layer, dict) else None
    return config if isinstance(config, dict) else {}


def _spec(name: Any, layer: dict[str, Any], keeps_batch: bool) -> InputLayer | None:
    """The spec of an input layer; None for another layer, and for an input that is not an ordinary array."""
    config = _config(layer)
    shape = next((config[key] for key in _SHAPES if isinstance(config.get(key), list)), None)
    dtype = config.get("dtype")
    if isinstance(dtype, dict):
        dtype = _config(dtype).get("name", dtype.get("config"))
    if layer.get("class_name") != "InputLayer" or not isinstance(name, str) or not shape or dtype not in _DTYPES:
        return None
    if config.get("sparse") or config.get("ragged") or config.get("optional"):
        return None
    if not all(axis is None or (isinstance(axis, int) and 0 < axis < 1 << 31) for axis in shape):
        return None
    return InputLayer(name, (shape[0] if keeps_batch else None, *shape[1:]), dtype)
