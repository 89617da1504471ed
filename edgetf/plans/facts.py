"""What each step depends on. In: a plan's model, and results of earlier steps. Out: digests by name.

Everything that affects a result is here, and nothing else: budgets are not part of a benchmark, so that other budgets
judge it again without measuring.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetf import __version__, files
from edgetf.api.cache import digest_of, version_of
from edgetf.api.models import path_of_model
from edgetf.api.reference import SERVING
from edgetf.benchmarks.judging.choose import Objective
from edgetf.benchmarks.judging.gate import Gate
from edgetf.conversion.origin import describe
from edgetf.device.devices_toml import load_settings
from edgetf.errors import EdgetfError
from edgetf.plans.plan import Options, Plan, PlannedModel
from edgetf.recipes import Aim
from edgetf.results import read_conversion
from edgetf.samples.formats import RECORDS
from edgetf.samples.source import is_missing

Facts = dict[str, str]


@dataclass(frozen=True)
class Host:
    """What results depend on of the machine that makes them, as digests: the machine, versions, devices by name."""

    machine: str
    versions: Facts
    devices: dict[str, str]


def this_host(devices_file: Path | None) -> Host:
    """The facts of this machine, and of the devices that the file names."""
    settings = load_settings(devices_file)
    return Host(_machine(), _versions(), {name: _of(files.to_plain(one)) for name, one in settings.items()})


_PACKAGES = ("tensorflow", "keras", "tf_keras", "ai-edge-litert")
_DIGITS = 16
_MODULES = 1000  # files beside a user's module


class Depends:
    """What the steps of a plan depend on. The content of each file is read once."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._modules = plan, plan.modules or Path.cwd()
        self._models: dict[str, str] = {}
        self._sources: dict[str | None, str] = {}

    def conversion(self, model: PlannedModel, host: Host) -> Facts:
        return {
            **host.versions,
            "model": self._model(model.path),
            "samples": self._source(model.samples),
            "schemes": _of(model.schemes),
            "shapes": _of(model.shapes),
            "signature": _of(model.signature),
            "keep_float": _of(model.keep_float),
            "pixels": _of(model.pixels),
            "options": _of([model.select_tf_ops, model.allow_nan, model.trust, self._plan.options.calibration]),
        }

    def reference(self, model: PlannedModel, host: Host) -> Facts:
        options = self._plan.options
        return {
            **host.versions,
            "model": self._model(model.path),
            "test": self._source(model.test),
            "signature": _of(model.signature),
            "labels_are": _of(model.labels_are),
            "on": _of([options.on, "mixed"] if options.mixed_hosts else options.on),
            "machine": host.machine,
            "options": _of([model.allow_nan, model.trust]),
        }

    def benchmark(self, model: PlannedModel, device: str, made: Sequence[Path], host: Host) -> Facts:
        """`made` are the folders of the variants and of the reference, `host` is the machine that the device is at.

        Budgets are not among the facts: others judge the same figures.
        """
        options = self._plan.options
        return {
            **host.versions,
            "variants": _of_variants(made[0]),
            "reference": files.sha256_file(made[1] / "reference.json")[:_DIGITS],
            "device": host.devices[device],
            "metric": _of([[_of_function(one, self._modules) for one in model.metric], model.metric_less_is_better]),
            "machine": host.machine,
            "options": _of(of_measuring(options)),
        }

    def tuning(self, model: PlannedModel, device: str, made: Sequence[Path], host: Host) -> Facts:
        """Those of the benchmark, and what may be lost: the search depends on it."""
        return {
            **self.benchmark(model, device, made, host),
            "samples": self._source(model.samples),
            "keep_float": _of(model.keep_float),
            "budgets": of_budgets(self._plan.budgets),
            "for": aim_of(self._plan.objective).value,
            "evaluations": _of(self._plan.tuning.evaluations),
        }

    def _model(self, path: str) -> str:
        if path not in self._models:
            self._models[path] = describe(path_of_model(path)).digest[:_DIGITS]
        return self._models[path]

    def _source(self, source: str | None) -> str:
        """The content of samples, if they are files; else their name."""
        if source not in self._sources:
            if source is not None and is_missing(source):
                raise EdgetfError(f"there are no samples at {source}", "correct the path")
            path = Path(source) if source is not None and os.path.exists(source) else None  # noqa: PTH110
            if path is None:
                self._sources[source] = _of([source, str(self._modules)])
            else:
                self._sources[source] = _of([(one.name, digest_of(one)) for one in files_of(path)])
        return self._sources[source]


def _of_function(name: str, home: Path) -> list[Any]:
    """A function's name, and the digests of all modules beside its own, any of which it may import.

    Nothing is loaded: what a process has loaded says nothing about what the next one will. An installed module counts
    by its name.
    """
    module = name.partition(":")[0]
    file = home / f"{module.replace('.', '/')}.py"
    beside = sorted(file.parent.glob("*.py"))[:_MODULES] if file.is_file() else []
    return [name, [(path.name, files.sha256_file(path)) for path in beside]]


def of_budgets(gate: Gate) -> str:
    """The budgets of a plan: the same for the same numbers."""
    plain = files.to_plain(gate.budgets)
    return _of([plain, sorted(gate.asked), gate.latency_ms, {name: of_budgets(own) for name, own in gate.of.items()}])


def aim_of(objective: Objective) -> Aim:
    """What a mixture is to have least of."""
    return Aim.LATENCY if objective is Objective.LATENCY else Aim.SIZE


def files_of(path: Path) -> list[Path]:
    """The files of a source: of TFRecords all shards, and their description."""
    if not path.name.endswith(RECORDS):
        return [path]
    stem = re.sub(r"-\d+-of-\d+$", "", path.name.partition(".tfrecord")[0])
    return sorted(one for one in path.parent.glob(f"{glob.escape(stem)}*") if one.is_file())


def _machine() -> str:
    """What times and float results of this machine depend on."""
    return _of([platform.node(), platform.machine(), platform.processor(), os.cpu_count()])


def is_settled(model: PlannedModel, *sources: str | None, on: str = "") -> bool:
    """Whether the content of the model and of these sources is known by their files; a server's model never is."""
    return not on.startswith(SERVING) and all(
        source is None or os.path.exists(source)  # noqa: PTH110  # a text that may be no file name
        for source in (model.path, *sources)
    )


def _versions() -> Facts:
    legacy = {"TF_USE_LEGACY_KERAS": os.environ.get("TF_USE_LEGACY_KERAS", "")}
    return {"edgetf": __version__, **legacy, **{package: version_of(package) for package in _PACKAGES}}


def _of(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def of_measuring(options: Options) -> list[Any]:
    """The options that a benchmark depends on, a delegate's only if there are any: earlier results have none."""
    common = [options.runtime, options.delegate, options.threads, options.blocks, options.sustained]
    return [*common, options.delegate_options] if options.delegate_options else common


def _of_variants(folder: Path) -> str:
    return _of({one.scheme: one.sha256 for one in read_conversion(folder).variants if one.path is not None})
