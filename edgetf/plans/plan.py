"""The plan of `edgetf run`: which models go to which devices, by which schemes, and what they may lose.

    for = "size"                    # what is to be least: latency, size, memory, both
    devices = ["local", "shelf"]

    [models.digits]
    path = "digits.keras"
    samples = "train.npz"           # to calibrate on
    test = "test.npz"               # to judge on
    schemes = ["float32", "int8"]

    [classes]
    shelf = ["pi1", "pi2"]          # any one of them

    [budgets]                       # as `edgetf gate` reads them
    max_drop = 1.0

In: `edgetf.toml`, or arguments. Out: frozen dataclasses. Paths are relative to the file, and may have `${VARIABLE}`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.benchmarks.judging.choose import Objective
from edgetf.benchmarks.judging.gate import Gate, read_budgets
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.conversion.hub import PREFIX
from edgetf.defaults import BLOCKS, CALIBRATION, DEVICE, GOLDEN
from edgetf.device.devices_toml import NAME as DEVICES
from edgetf.device.settings import expand
from edgetf.errors import EdgetfError, clean, nearest
from edgetf.limits import fault_of_text
from edgetf.plans.keys import MODEL, MOST_COUNT, OPTIONS, PLAN, TUNING, Key, Type
from edgetf.recipes import TUNED
from edgetf.samples.source import FOLDER, PATH, parse_source
from edgetf.schemes import SCHEMES

NAME = "edgetf.toml"
OUT = "ship"
_HINT = "docs/plans.md has an example"
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)\}")
_MODEL_NAME = re.compile(r"[\w][\w.-]*")
_MODELS = 10_000  # of a plan
_RESERVED = ("report.html", "run.json", NAME)


class When(str, Enum):
    """When a model is tuned. AUTO: a variant that would be better than the best that passes does not pass."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True)
class PlannedModel:
    """A model, its samples and its devices; fields are the keys of `[models.NAME]`, paths are absolute."""

    name: str
    path: str
    test: str
    samples: str | None = None
    labels_are: str | None = None
    metric: tuple[str, ...] = ()
    metric_less_is_better: bool = False
    signature: str | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    keep_float: tuple[str, ...] = ()
    pixels: str | None = None
    select_tf_ops: bool = False
    allow_nan: bool = False
    trust: bool = False
    schemes: tuple[str, ...] = ()
    devices: tuple[str, ...] = (DEVICE,)


@dataclass(frozen=True)
class Tuning:
    """When `edgetf tune` runs, and how many candidates it may evaluate."""

    when: When = When.AUTO
    evaluations: int = 6


@dataclass(frozen=True)
class Options:
    """How results are made; fields are the keys of `[options]`. None: each device's own."""

    on: str = "auto"
    mixed_hosts: bool = False
    calibration: int = CALIBRATION
    runtime: str | None = None
    delegate: str | None = None
    delegate_options: dict[str, str] = field(default_factory=dict)
    threads: int | None = None
    blocks: int = BLOCKS
    sustained: float = 0.0
    golden: int = GOLDEN


NO_BUDGETS = Gate((), Budgets(), {}, frozenset())


@dataclass(frozen=True)
class Plan:
    """What `edgetf run` does. `classes` are devices by the name of their class; `out` is the folder for results,
    `modules` the folder of the user's modules."""

    models: tuple[PlannedModel, ...]
    out: Path
    objective: Objective = Objective.BOTH
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    budgets: Gate = NO_BUDGETS
    tuning: Tuning = Tuning()
    options: Options = Options()
    devices_file: Path | None = None
    modules: Path | None = None

    def members(self, device: str) -> tuple[str, ...]:
        """The devices that will do where a plan names `device`: itself, or those of its class."""
        return self.classes.get(device, (device,))


def load_plan(path: Path) -> Plan:
    """Read the plan at `path`. Raises EdgetfError with the name of the key that is missing, unknown or wrong."""
    table = files.read_toml(path, _HINT)
    reader = _Reader(path)
    top = reader.read("", {key: value for key, value in table.items() if PLAN.get(key, _TEXT).type is not Type.TABLE})
    reader.refuse_unknown("", table, PLAN)
    tables = {name: reader.table(name, table.get(name, {})) for name, key in PLAN.items() if key.type is Type.TABLE}
    classes = {name: reader.texts(f"classes.{name}", names) for name, names in tables["classes"].items()}
    for name in (*classes, *(device for one in (top, *tables["models"].values()) for device in _devices_of(one))):
        reader.refuse_name("a device, or a class of devices,", name)
    common: dict[str, tuple[str, ...]] = {key: top[key] for key in ("schemes", "devices") if key in top}
    if not 1 <= len(tables["models"]) <= _MODELS:
        raise EdgetfError(f"{path} names no model", "add [models.NAME] with path and test")
    devices_file = str(top.get("devices_file", DEVICES))
    place = Path(reader.path_of("devices_file", devices_file))
    modules = Path(reader.path_of("modules", str(top.get("modules", "."))))
    if not modules.is_dir():
        raise EdgetfError(f"{path}: modules names {modules}, which is not a folder", "correct the path")
    models = tuple(reader.model(name, one, common) for name, one in tables["models"].items())
    budgets = read_budgets(path, tables["budgets"]) if "budgets" in table else NO_BUDGETS
    return Plan(
        models=models,
        out=Path(reader.path_of("out", str(top.get("out", OUT)))),
        objective=Objective(top.get("for", Objective.BOTH.value)),
        classes=classes,
        budgets=_applied(path, budgets, models, classes),
        tuning=_tuning(reader.read("tuning", tables["tuning"])),
        options=Options(**reader.read("options", tables["options"])),
        devices_file=place if "devices_file" in top or place.is_file() else None,
        modules=modules,
    )


def _devices_of(table: Any) -> tuple[str, ...]:
    """The devices that a table names, if it names any as it should."""
    found = table.get("devices", ()) if isinstance(table, dict) else ()
    names = (found,) if isinstance(found, str) else found
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, (list, tuple)) else ()


def _applied(path: Path, budgets: Gate, models: Sequence[PlannedModel], classes: Mapping[str, tuple[str, ...]]) -> Gate:
    """The budgets, those of a class for each of its devices. Raises EdgetfError for those that nothing is judged by."""
    named = {device for model in models for device in model.devices}
    measured = {member for device in named for member in classes.get(device, (device,))}
    variants = {scheme for model in models for scheme in (model.schemes or SCHEMES)} | {TUNED}
    for name in budgets.of:
        if name not in variants:
            raise EdgetfError(
                f"{path}: no model has a variant {name!r} for budgets.of", nearest(name, sorted(variants))
            )
    for gate in (budgets, *budgets.of.values()):
        for device in gate.latency_ms:
            if device not in named | measured:
                known = nearest(device, sorted(named | measured))
                raise EdgetfError(f"{path}: nothing is measured on {device!r}, which max_latency_ms names", known)

    def spread(gate: Gate) -> Gate:
        of_classes = {member: limit for name, limit in gate.latency_ms.items() for member in classes.get(name, (name,))}
        return replace(gate, latency_ms={**of_classes, **{k: v for k, v in gate.latency_ms.items() if k in measured}})

    return replace(spread(budgets), of={name: spread(own) for name, own in budgets.of.items()})


def _tuning(values: Mapping[str, Any]) -> Tuning:
    return Tuning(**{**values, "when": When(values.get("when", When.AUTO.value))})


_TEXT = Key(Type.TEXT, "")
_TABLES = {"": PLAN, "tuning": TUNING, "options": OPTIONS}
_NAMES = {
    Type.TEXT: "a text",
    Type.TEXTS: "a list of texts",
    Type.FLAG: "true or false",
    Type.COUNT: "a whole number of at least 1",
    Type.NUMBER: "a number of at least 0",
    Type.SHAPES: "a table of shapes, such as { x = [1, 28, 28] }",
    Type.PAIRS: 'a table of texts, such as { device = "usb" }',
    Type.TABLE: "a table",
}


class _Reader:
    """Reads tables of the file at `path`; errors name the key."""

    def __init__(self, path: Path) -> None:
        self._path, self._folder = path, path.resolve().parent

    def read(self, where: str, table: Mapping[str, Any], keys: Mapping[str, Key] | None = None) -> dict[str, Any]:
        """The values of a table, of the types of its keys."""
        keys = _TABLES[where] if keys is None else keys
        self.refuse_unknown(where, table, keys)
        return {name: self._value(where, name, value, keys[name]) for name, value in table.items()}

    def table(self, where: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._error(where, value, Type.TABLE)
        return value

    def texts(self, where: str, value: Any) -> tuple[str, ...]:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(_is_text(one) for one in names):
            raise self._error(where, value, Type.TEXTS)
        if len(set(names)) < len(names):
            raise EdgetfError(f"{self._path}: {where} names one twice: {', '.join(names)}", "name each once")
        return tuple(names)

    def refuse_unknown(self, where: str, table: Mapping[str, Any], keys: Mapping[str, Key]) -> None:
        for key in table:
            if key not in keys:
                full = f"{where}.{key}" if where else key
                raise EdgetfError(f"{self._path}: unknown key {full!r}", nearest(key, keys))

    def model(self, name: str, value: Any, common: Mapping[str, tuple[str, ...]]) -> PlannedModel:
        where = f"models.{name}"
        self.refuse_name("a model", name)
        values = self.read(where, self.table(where, value), MODEL)
        for key, row in MODEL.items():
            if row.is_required and key not in values:
                raise EdgetfError(f"{self._path}: [{where}] has no {key}", f"{key} is {row.description}")
        if values.get("metric_less_is_better") and "metric" not in values:
            message = f"{self._path}: {where}.metric_less_is_better needs a metric"
            raise EdgetfError(message, "give a metric, or leave it out")
        values = {**common, **values, "name": name}
        if not values["path"].startswith(PREFIX):
            values["path"] = self.path_of(f"{where}.path", values["path"])
        for key in ("samples", "test"):
            if key in values:
                values[key] = self._source(f"{where}.{key}", values[key])
        return PlannedModel(**values)

    def refuse_name(self, what: str, name: str) -> None:
        """Raise EdgetfError for a name that cannot be that of a folder of results."""
        if not _MODEL_NAME.fullmatch(name) or fault_of_text(name, is_file=True) or name in _RESERVED:
            hint = "its results go into a folder of that name: give letters, digits, - and _"
            raise EdgetfError(f"{self._path}: {what} cannot be called {name[:80]!r}", hint)

    def path_of(self, where: str, text: str) -> str:
        """A path from the folder of the file, with variables of the environment."""
        return str((self._folder / expand(self._expanded(where, text))).resolve())

    def _source(self, where: str, text: str) -> str:
        """A source of samples; if it is a path, from the folder of the file."""
        text = self._expanded(where, text)
        if text.startswith(FOLDER.prefix):
            place, mark, options = text.removeprefix(FOLDER.prefix).partition("?")
            return f"{FOLDER.prefix}{(self._folder / expand(place)).resolve()}{mark}{options}"
        local = self._folder / expand(text)
        if local.exists() or parse_source(text).kind is PATH:
            return str(local.resolve())
        return text

    def _expanded(self, where: str, text: str) -> str:
        if "$" in _VARIABLE.sub("", text):
            hint = "write ${NAME} for a variable of the environment, $$ for a $"
            raise EdgetfError(f"{self._path}: {where} = {text!r} has a $ outside of ${{NAME}}", hint)

        def value(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            if match[1] not in os.environ:
                raise EdgetfError(f"{self._path}: {where} names {match[0]}, which is not set", f"export {match[1]}=...")
            return os.environ[match[1]]

        return _VARIABLE.sub(value, text)

    def _value(self, where: str, name: str, value: Any, key: Key) -> Any:
        full = f"{where}.{name}" if where else name
        if key.type is Type.TEXTS:
            found: Any = self.texts(full, value)
        elif not _IS[key.type](value):
            raise self._error(full, value, key.type)
        elif key.type is Type.COUNT and not key.least <= value <= key.most:
            bounds = f"at least {key.least}" if key.most == MOST_COUNT else f"{key.least} to {key.most:,}"
            raise EdgetfError(f"{self._path}: {full} = {value} is out of bounds", f"give {bounds}")
        else:
            found = {n: tuple(shape) for n, shape in value.items()} if key.type is Type.SHAPES else value
        for word in found if key.type is Type.TEXTS else (found,):
            if key.words and word not in key.words:
                raise EdgetfError(f"{self._path}: {full} = {word!r} is unknown", nearest(word, key.words))
            if key.check is not None:
                self._check(full, word, key.check)
        return found

    def _check(self, where: str, text: str, check: Callable[[str], object]) -> None:
        """Raise EdgetfError with the name of the key for a text that a step would refuse."""
        try:
            check(text)
        except EdgetfError as error:
            raise EdgetfError(f"{self._path}: {where}: {error.message}", error.hint) from error

    def _error(self, where: str, value: Any, wanted: Type) -> EdgetfError:
        return EdgetfError(f"{self._path}: {where} = {str(value)[:80]!r} is not {_NAMES[wanted]}", _HINT)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and clean(value) == value and not fault_of_text(value, is_file=False)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_COUNT


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _are_shapes(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, list) and all(map(_is_count, one)) for one in value.values())


def _are_pairs(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    named = all(re.fullmatch(r"[^\s=]+", name) and _is_text(name) for name in value)
    return named and all(one == "" or _is_text(one) for one in value.values())


_IS: dict[Type, Callable[[Any], bool]] = {
    Type.TEXT: _is_text,
    Type.FLAG: lambda value: isinstance(value, bool),
    Type.COUNT: _is_count,
    Type.NUMBER: _is_number,
    Type.SHAPES: _are_shapes,
    Type.PAIRS: _are_pairs,
    Type.TABLE: lambda value: isinstance(value, dict),
}
