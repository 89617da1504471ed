"""The keys of `edgetf.toml`, each once: the loader accepts these, and `edgetf run --schema` describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from edgetf.api.reference import PLACES, SERVING
from edgetf.device.runner.delegates import DELEGATES, RUNTIME_CHOICES, find_delegate
from edgetf.errors import EdgetfError, nearest
from edgetf.functions import refuse_no_function
from edgetf.pixels import parse_map
from edgetf.schemes import SCHEMES

MOST_COUNT = (1 << 31) - 1
SCHEMA_URI = "https://json-schema.org/draft/2020-12/schema"


class Type(str, Enum):
    """The type of a value; TEXTS also takes one text for a list of one, PAIRS are texts by name."""

    TEXT = "text"
    TEXTS = "texts"
    FLAG = "flag"
    COUNT = "count"
    NUMBER = "number"
    SHAPES = "shapes"
    PAIRS = "pairs"
    TABLE = "table"


@dataclass(frozen=True)
class Key:
    """A key of a table: its type, its description, the words that it may have, and whether it must be there.

    `least` and `most` are of a COUNT; `check` raises EdgetfError for a text that the step would refuse.
    """

    type: Type
    description: str
    words: tuple[str, ...] = ()
    is_required: bool = False
    least: int = 1
    most: int = MOST_COUNT
    check: Callable[[str], object] | None = None


def _check_place(text: str) -> None:
    """Raise EdgetfError for what is not a place where TensorFlow runs."""
    if text not in PLACES and not text.startswith(SERVING):
        raise EdgetfError(f"{text!r} is not a place", nearest(text, [*PLACES, f"{SERVING}URL"]))


def _check_delegate(text: str) -> None:
    """Raise EdgetfError for what no device has, and what is not a library."""
    try:
        find_delegate(text)
    except KeyError:
        raise EdgetfError(f"unknown delegate {text!r}", f"{nearest(text, DELEGATES)}; or a library, *.so") from None


MODEL: dict[str, Key] = {
    "path": Key(Type.TEXT, "a Keras file, a SavedModel, or hub:HANDLE", is_required=True),
    "samples": Key(Type.TEXT, "samples to calibrate on; they need no labels"),
    "test": Key(Type.TEXT, "samples to judge on, with labels if there are any", is_required=True),
    "labels_are": Key(Type.TEXT, "the meaning of labels that could be both", ("class", "value")),
    "metric": Key(Type.TEXTS, "your own functions to judge by: module:function", check=refuse_no_function),
    "metric_less_is_better": Key(Type.FLAG, "every metric is an error, or a cost"),
    "signature": Key(Type.TEXT, "the signature of a SavedModel"),
    "shapes": Key(Type.SHAPES, "shapes of inputs by name, such as { image = [1, 28, 28, 1] }"),
    "keep_float": Key(Type.TEXTS, "Keras layers, or patterns of them, that stay in float"),
    "pixels": Key(
        Type.TEXT, "variants take uint8 pixels: 0..1, -1..1, or mean=M std=S, as of edgetf convert", check=parse_map
    ),
    "select_tf_ops": Key(Type.FLAG, "allow TensorFlow's own operations"),
    "allow_nan": Key(Type.FLAG, "allow NaN in samples, for a model that imputes them"),
    "trust": Key(Type.FLAG, "load a model that contains code, or operations with effects"),
    "schemes": Key(Type.TEXTS, "the schemes; by default those of the plan", tuple(SCHEMES)),
    "devices": Key(Type.TEXTS, "devices, or classes of them; by default those of the plan"),
}
TUNING: dict[str, Key] = {
    "when": Key(
        Type.TEXT, "auto: if a better variant than the best that passes does not pass", ("auto", "always", "never")
    ),
    "evaluations": Key(Type.COUNT, "candidates to evaluate, at most"),
}
OPTIONS: dict[str, Key] = {
    "on": Key(Type.TEXT, "where TensorFlow runs: auto, gpu, cpu, or serving:URL", check=_check_place),
    "mixed_hosts": Key(Type.FLAG, "references also by workers with other outputs: more noise"),
    "calibration": Key(Type.COUNT, "the number of samples to calibrate on"),
    "runtime": Key(Type.TEXT, "the runtime of all devices, instead of each one's own", RUNTIME_CHOICES),
    "delegate": Key(Type.TEXT, "the delegate of all devices, instead of each one's own", check=_check_delegate),
    "delegate_options": Key(Type.PAIRS, 'options of the delegate by name, such as { precision = "float32" }'),
    "threads": Key(Type.COUNT, "threads while timing", most=1024),
    "blocks": Key(Type.COUNT, "turns of each variant, at least", least=2),
    "sustained": Key(Type.NUMBER, "seconds of load on each variant as well"),
    "golden": Key(Type.COUNT, "samples in a bundle, with their outputs"),
}
PLAN: dict[str, Key] = {
    "out": Key(Type.TEXT, "the folder for the results; by default `ship`"),
    "for": Key(Type.TEXT, "what is to be least", ("latency", "size", "memory", "both")),
    "schemes": Key(Type.TEXTS, "the schemes of all models; by default all that suit a model", tuple(SCHEMES)),
    "devices": Key(Type.TEXTS, "the devices of all models, or classes of them; by default local"),
    "devices_file": Key(Type.TEXT, "the file that defines devices; by default devices.toml"),
    "modules": Key(Type.TEXT, "the folder of the modules of your functions; by default that of this file"),
    "models": Key(Type.TABLE, "a table for each model: [models.NAME]", is_required=True),
    "classes": Key(Type.TABLE, 'classes of devices, any one of which will do: shelf = ["pi1", "pi2"]'),
    "budgets": Key(Type.TABLE, "what may be lost, as in a file of `edgetf gate`"),
    "tuning": Key(Type.TABLE, "when and how `edgetf tune` runs"),
    "options": Key(Type.TABLE, "how results are made"),
}
_BUDGET: dict[str, Key] = {
    "max_drop": Key(Type.NUMBER, "points of accuracy"),
    "max_metric_drop": Key(Type.NUMBER, "loss of a metric, in its unit"),
    "min_agreement": Key(Type.NUMBER, "share of decisions that are the reference's"),
    "max_bytes": Key(Type.NUMBER, "size of the file"),
    "max_memory_bytes": Key(Type.NUMBER, "peak of the process"),
    "min_delegated": Key(Type.NUMBER, "share of the operations that the delegate takes"),
    "max_partitions": Key(Type.COUNT, "pieces in which it takes them"),
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `edgetf.toml`, for editors."""
    latency = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}
    latency["description"] = "milliseconds by device"
    budgets = _object(_BUDGET)
    budgets["properties"]["max_latency_ms"] = latency
    of = {"type": "object", "additionalProperties": {**budgets}, "description": "other budgets of one variant"}
    tables: dict[str, dict[str, Any]] = {
        "models": {"type": "object", "additionalProperties": _object(MODEL), "minProperties": 1},
        "classes": {"type": "object", "additionalProperties": _of(Key(Type.TEXTS, "names of devices"))},
        "budgets": {**budgets, "properties": {**budgets["properties"], "of": of}},
        "tuning": _object(TUNING),
        "options": _object(OPTIONS),
    }
    whole = _object(PLAN)
    for name, table in tables.items():
        whole["properties"][name] = {**table, "description": PLAN[name].description}
    return {"$schema": SCHEMA_URI, "title": "edgetf.toml", **whole}


def _object(keys: Mapping[str, Key]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, key in keys.items() if key.is_required],
        "properties": {name: _of(key) for name, key in keys.items()},
    }


def _of(key: Key) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string", **({"enum": list(key.words)} if key.words else {})}
    forms: dict[Type, dict[str, Any]] = {
        Type.TEXT: text,
        Type.TEXTS: {"anyOf": [text, {"type": "array", "items": text, "minItems": 1}]},
        Type.FLAG: {"type": "boolean"},
        Type.COUNT: {"type": "integer", "minimum": key.least, "maximum": key.most},
        Type.NUMBER: {"type": "number", "minimum": 0},
        Type.SHAPES: {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        },
        Type.PAIRS: {"type": "object", "additionalProperties": {"type": "string"}},
        Type.TABLE: {"type": "object"},
    }
    return {**forms[key.type], "description": key.description}
