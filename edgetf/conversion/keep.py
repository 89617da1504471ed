"""In: a quantized file and the float32 file of one conversion. Out: the quantized one with some layers in float32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from edgetf.conversion.engine import Made
from edgetf.conversion.layers import layer_of, matching_layers
from edgetf.conversion.skeleton import BASE
from edgetf.conversion.splice import Mixture, Splicer
from edgetf.errors import EdgetfError
from edgetf.schemes import Scheme
from edgetf.units import list_in_words

_QUANTIZED = "quantized"


def refuse_unknown_layers(float32: bytes, patterns: Sequence[str], names: Mapping[str, str]) -> None:
    """Raise NoLayerError for a pattern that no layer has, before anything is quantized."""
    matching_layers(patterns, [operation.tensor for operation in Splicer({BASE: float32}).operations], names)


def keep_float(made: Made, float32: bytes, scheme: Scheme, patterns: Sequence[str], names: Mapping[str, str]) -> Made:
    """The same variant, but layers whose names match `patterns` (`*` and `?` as in a shell) compute in float32.

    `names` are the Keras layers by their scopes in the graph. A scheme that quantizes nothing is returned unchanged.
    Raises EdgetfError if a pattern matches no layer, or if the scheme has no float inputs and outputs.
    """
    if scheme.weights != "int8":
        return made
    if scheme.io != "float32":
        raise EdgetfError(f"{scheme.name} has integer inputs and outputs: no layer can stay in float", "use int8")
    splicer = Splicer({BASE: float32, _QUANTIZED: made.content})
    if splicer.left_out:
        why = splicer.left_out[_QUANTIZED]
        raise EdgetfError(f"no layer can stay in float: {why}", "leave out --keep-float, or use another scheme")
    tensors = [operation.tensor for operation in splicer.operations]
    matching = matching_layers(patterns, tensors, names)
    kept = splicer.together(matching)
    choice = tuple(BASE if k in kept else _QUANTIZED for k in range(len(tensors)))
    layers = _layers(matching, tensors, names)
    note = f"kept in float32: {list_in_words(layers)}"
    if others := [layer for layer in _layers(kept, tensors, names) if layer not in layers]:
        note += f", with what is equalized with them: {list_in_words(others)}"
    note += "; its repairs were measured before" if made.repairs else ""
    return replace(made, content=splicer.splice(Mixture(choice)), notes=(*made.notes, note))


def _layers(operations: Iterable[int], tensors: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """The layers of operations, in order."""
    return list(dict.fromkeys(layer_of(tensors[k], names) for k in sorted(operations)))
