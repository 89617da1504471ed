"""What the converter's errors mean: a raw message in, a line and a hint out.

Known signatures are in one table. An unknown message keeps its last meaningful line; the raw text is in the log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Translation:
    """`message` is one line; `hint` is empty where nothing is known."""

    message: str
    hint: str


@dataclass(frozen=True)
class _Known:
    """A regular expression for the raw message; its groups fill `message` and `hint`."""

    pattern: str
    message: str
    hint: str


_FLEX = "--select-tf-ops makes it need the Flex delegate, which LiteRT's wheel lacks; or change the model"
_TABLE = (
    _Known(
        r"'tf\.TensorList\w+' op requires element_shape to be (?:1D|static)",
        "a loop or recurrent layer has a shape that is not known",
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
        "the custom op {0} is known to no runtime",
        "write it in TensorFlow's own ops, or register it on the device",
    ),
    _Known(
        r"representative_dataset|Calibrat\w+ .*input",
        "the calibrator refused the samples",
        "check names, shapes and dtypes with: edgetf inspect SAVED_MODEL",
    ),
    _Known(
        r"(?:MLIR|flatbuffer).*(?:2GB|2 GB|too large)|exceeds? .*2147483648",
        "the model is larger than the 2 GB that a flatbuffer holds",
        "use float16 or an int8 scheme, or split the model",
    ),
)


def translate(raw: str, flex: bool) -> Translation:
    """The meaning of a converter's message; `flex` says that TensorFlow's own ops had been allowed."""
    missing = sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", raw)))
    if missing:
        texts = " (texts need Flex)" if any(name.startswith(("String", "Regex", "Parse")) for name in missing) else ""
        ops = ", ".join(missing)
        if flex:
            return Translation(
                f"neither TFLite nor Flex has {ops}", "change the model: compute it before the model runs"
            )
        return Translation(f"TFLite has no {ops}{texts}", _FLEX)
    for known in _TABLE:
        if found := re.search(known.pattern, raw):
            groups = [group for group in found.groups() if group]
            return Translation(known.message.format(*groups), known.hint.format(*groups))
    return Translation(meaningful_line(raw), "")


def meaningful_line(message: str) -> str:
    """Of a message, the line that says what is wrong, without MLIR's locations.

    That is the first line marked `error:`, else the last line of all.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    errors = [line.split("error:", 1)[1].strip() for line in lines if "error:" in line]
    line = errors[0] if errors else (lines or ["the converter gave no reason"])[-1]
    return re.sub(r"^loc\(.*\): ", "", line)[:300]
