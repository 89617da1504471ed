"""Explanations of the converter's errors. In: a raw message. Out: one line and a hint.

Known messages are in one table. An unknown message is reduced to its last meaningful line; the raw text is in the log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgetf.errors import EdgetfError
from edgetf.flatbuffer import builtin_code, listed, names_of, tensor_name, unpack


@dataclass(frozen=True)
class Translation:
    """`message` is one line; `hint` is empty if none is known."""

    message: str
    hint: str


@dataclass(frozen=True)
class _Known:
    """A regular expression for the raw message. Its groups fill `message` and `hint`."""

    pattern: str
    message: str
    hint: str


_FLEX = "--select-tf-ops makes it need the Flex delegate, which LiteRT's wheel lacks; or change the model"
_HALF = (
    "give the Keras file to edgetf convert, which exports it in float32; or export it yourself: set "
    "keras.config.set_dtype_policy('float32'), build the model, load its weights, model.export(...)"
)
_TEXTS = ("String", "Regex", "Parse", "Static", "AsString", "Unicode")
_BEFORE = (
    "convert strings to numbers before the model runs; or try --select-tf-ops: the Flex delegate has some of these ops"
)
_TABLE = (
    _Known(
        r"'tf\.TensorList\w+' op requires element_shape to be (?:1D|static)",
        "a loop or recurrent layer has an unknown shape",
        "fix it with --shape NAME=1,TIME,FEATURES",
    ),
    _Known(
        r"Quantization to 16x8-bit not yet supported for op: '(\w+)'",
        "{0} has no kernel with 16-bit activations",
        "use int8, or leave the op out of the model",
    ),
    _Known(
        r"Empty min/max for tensor (\S+)",
        "a value inside of a loop or recurrent layer ({0}) has no range, which this scheme needs",
        "use int8 (loops then stay float32) or dynamic",
    ),
    _Known(
        r"no_integer_overflow_from_quantization",
        "a channel of weights is so small that its 16-bit bias overflows",
        "use int8; or look for a dead channel in the model",
    ),
    _Known(
        r"Op (\w+) is not registered|Unresolved custom op: (\w+)|custom op '(\w+)'",
        "no runtime has the custom op {0}",
        "replace it by TensorFlow's own ops, or register it on the device",
    ),
    _Known(
        r"representative_dataset|Calibrat\w+ .*input",
        "the calibrator refused the samples",
        "check names, shapes and dtypes with: edgetf inspect SAVED_MODEL",
    ),
    _Known(
        r"(?:MLIR|flatbuffer).*(?:2GB|2 GB|too large)|exceeds? .*2147483648",
        "the model is larger than the 2 GB that a flatbuffer can hold",
        "use float16 or an int8 scheme, or split the model",
    ),
)


def translate(raw: str, flex: bool, computes: str = "float32") -> Translation:
    """Explain a converter's message.

    `flex` means that TensorFlow's own ops were allowed; `computes` lists the types that the graph computes with.
    """
    missing = sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", raw)))
    half = next((name for name in ("bfloat16", "float16") if name in computes.split()), None)
    theirs = [name for name in missing if half and _only_in_half(name, raw)]
    own = [name for name in missing if name not in theirs]
    others = _explain_missing(own, flex)
    if others and not theirs:
        return others
    known = None if missing else _explain_known(raw)
    if known is None and half is not None:
        known = Translation(f"the graph computes in {half}, and TFLite computes in float32", _HALF)
        if others:
            hint = f"{known.hint}; for {', '.join(own)}: {others.hint}"
            known = Translation(f"{known.message}; besides, {others.message}", hint)
    return known or Translation(meaningful_line(raw), "")


def _only_in_half(op: str, raw: str) -> bool:
    """Whether the message lists a missing op only with numbers of 16 bits, which are then the reason."""
    uses = re.findall(rf"^\s*tf\.{op}\((.*)$", raw, re.MULTILINE)
    return bool(uses) and all("f16>" in use for use in uses)


def _explain_missing(missing: list[str], flex: bool) -> Translation | None:
    if not missing:
        return None
    texts, ops = any(name.startswith(_TEXTS) for name in missing), ", ".join(missing)
    if flex:
        return Translation(f"neither TFLite nor Flex has {ops}", "change the model: compute it before the model runs")
    if texts:
        return Translation(f"TFLite has no {ops}: it does not support strings", _BEFORE)
    return Translation(f"TFLite has no {ops}", _FLEX)


def _explain_known(raw: str) -> Translation | None:
    for known in _TABLE:
        if found := re.search(known.pattern, raw):
            groups = [group for group in found.groups() if group]
            return Translation(known.message.format(*groups), known.hint.format(*groups))
    return None


def explain_int16x8(raw: str, flatbuffer: bytes) -> EdgetfError | None:
    """Explain an error of the int16x8 quantizer about a missing range if the tensor holds integers.

    It treats some ops (LESS, SELECT; seen with TensorFlow 2.21) as ops on floats, whatever their dtype. A Keras 3
    Embedding has them. Returns None for other errors.
    """
    found = re.search(r"Empty min/max for tensor (\S+)", raw)
    model, schema = unpack(flatbuffer)
    graph = model.subgraphs[0]
    known = {tensor_name(tensor): k for k, tensor in enumerate(listed(graph.tensors))}
    if found is None or (place := known.get(found[1])) is None:
        return None
    dtype = names_of(schema.TensorType)[graph.tensors[place].type].lower()
    if dtype.startswith("float"):
        return None
    names = names_of(schema.BuiltinOperator)
    readers = {names[builtin_code(model, op)] for op in listed(graph.operators) if place in listed(op.inputs)}
    name = found[1].removeprefix("serving_default_").removesuffix(":0")
    return EdgetfError(
        f"{', '.join(sorted(readers - {'GATHER'}))} of {dtype} numbers ({name}) has no kernel with 16-bit activations",
        "use int8 or dynamic, which do not quantize integers",
    )


def meaningful_line(message: str) -> str:
    """The line of a message that names the error, without MLIR's locations.

    That is the first line with `error:`, otherwise the last line.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    errors = [line.split("error:", 1)[1].strip() for line in lines if "error:" in line]
    line = errors[0] if errors else (lines or ["the converter gave no reason"])[-1]
    return re.sub(r"^loc\(.*\): ", "", line)[:300]
