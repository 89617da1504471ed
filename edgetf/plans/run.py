"""`edgetf.run`: from a model, or a plan of many, to files that are proven on the device. Out: `run.json`, bundles."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from edgetf import files
from edgetf.api.given import names_of, one_of
from edgetf.api.judge import budgets_of
from edgetf.api.models import inputs_of, path_of_model
from edgetf.api.samples import source_of_samples
from edgetf.benchmarks.judging.choose import Objective
from edgetf.benchmarks.judging.gate import Gate, write_reports
from edgetf.benchmarks.judging.own_metric import metric_name
from edgetf.console.progress import progress
from edgetf.defaults import DEVICE, OBJECTIVE
from edgetf.device.devices import refuse_unfit
from edgetf.device.devices_toml import NAME as DEVICES
from edgetf.device.devices_toml import load_settings
from edgetf.device.kinds import KINDS
from edgetf.errors import EdgetfError, nearest
from edgetf.events import Event, Note, OnEvent
from edgetf.functions import from_folder
from edgetf.plans.engine import Engine, Here
from edgetf.plans.execute import Executor
from edgetf.plans.page import PAGE, write_page
from edgetf.plans.plan import NAME, NO_BUDGETS, OUT, Plan, PlannedModel, load_plan
from edgetf.plans.ran import Ran
from edgetf.plans.record import FILE, Answer, RunRecord, StepRecord, read_run
from edgetf.plans.steps import Steps
from edgetf.plans.store import sweep
from edgetf.plans.written import is_own, plan_as_toml
from edgetf.schemes import find_scheme

Place = str | os.PathLike[str]


def run(
    what: Any = NAME,
    out: Place | None = None,
    *,
    samples: Any = None,
    test: Any = None,
    schemes: str | Sequence[str] = (),
    device: str | Sequence[str] = DEVICE,
    devices: Place | None = None,
    objective: str = OBJECTIVE,
    max_drop: float | None = None,
    max_metric_drop: float | None = None,
    max_latency_ms: float | None = None,
    max_bytes: int | None = None,
    metric: str | Sequence[str] = (),
    metric_less_is_better: bool = False,
    scheduler: str | None = None,
    certificates: Place | None = None,
    dry_run: bool = False,
    junit: Place | None = None,
    summary: Place | None = None,
    no_wait: bool = False,
    force: bool = False,
    on_event: OnEvent | None = None,
) -> Ran:
    """Convert, compare, measure, tune and bundle models by a plan, as `edgetf run` does; nothing is made twice.

    Parameters
    ----------
    what
        The path of a plan (`edgetf.toml`); or a model, as for `edgetf.convert`, with `samples` and `test`.
    out
        The folder for what is to be shipped; by default that of the plan, or `ship`.
    samples
        For a model: samples to calibrate on, as for `edgetf.convert`.
    test
        For a model: samples to judge on, with labels if available, as for `edgetf.reference`.
    schemes, device, devices
        For a model: as for `edgetf.convert` and `edgetf.benchmark`.
    objective
        For a model: what to minimize: "latency", "size", "memory", or "both". On the command line: `--for`.
    max_drop, max_metric_drop, max_latency_ms, max_bytes
        For a model: as for `edgetf.check`.
    metric, metric_less_is_better
        For a model: as for `edgetf.benchmark`; by name.
    scheduler, certificates
        The address of a scheduler, such as "tls://lab:8786": steps run on its workers, each device at the one that has
        it. The folder of the certificates; by default that of the user's configuration.
    dry_run
        Run nothing; the steps that would run are PENDING, with the reason.
    junit, summary
        As for `edgetf.gate`: files for the verdicts on what is to be shipped.
    no_wait, force, on_event
        As for `edgetf.benchmark`; `force` makes everything again.

    Returns
    -------
    Ran
        By model (with several devices by MODEL/DEVICE): `["digits"].variant`, `.file`, `.bundle`, `.sentence`.

    Raises
    ------
    EdgetfError
        If the plan or an argument is wrong. Steps that fail are in `document.steps`; the others run.

    Examples
    --------
    >>> shipped = edgetf.run(
    ...     model, "ship", samples=x_train, test=(x_test, y_test), schemes=["float32", "int8"], max_drop=5.0
    ... )
    >>> shipped["model"].file
    '.../ship/model/local/....tflite'
    """
    begin = perf_counter()
    if callable(metric) or any(map(callable, metric)):
        raise EdgetfError("a plan names metrics, so that it can be run again", 'give metric="module:function"')
    given = {
        "samples": samples,
        "test": test,
        "schemes": names_of(schemes),
        "metric": names_of(metric),
        "metric_less_is_better": metric_less_is_better,
    }
    budgets = _budgets(max_drop, max_metric_drop, max_latency_ms, max_bytes, names_of(device))
    path = _path_of_plan(what)
    if path is not None:
        plan = load_plan(path)
        changed = {**given, "device": device != DEVICE, "devices": devices, "for": objective != OBJECTIVE}
        _refuse_for_a_plan(path, [name for name, value in changed.items() if value not in (None, (), False)], budgets)
        plan = plan if out is None else replace(plan, out=Path(out).resolve())
    else:
        model = _model(what, given, names_of(device))
        plan = Plan(
            models=(model,),
            out=Path(OUT if out is None else out).resolve(),
            objective=one_of(Objective, objective, "objective"),
            budgets=budgets,
            devices_file=_devices_file(devices),
            modules=Path.cwd(),
        )
    # absolute: the user's modules may be in another folder
    xml, markdown = (None if place is None else Path(place).resolve() for place in (junit, summary))
    with from_folder(plan.modules or Path.cwd()), _engine(scheduler, certificates, plan, on_event) as engine:
        _refuse_unknown_names(plan, engine)
        if any(model.metric for model in plan.models):
            _forget(plan.modules or Path.cwd())
        ran = _run(plan, path, _How(dry_run, force, not no_wait, on_event, begin), engine)
    if (xml or markdown) and not dry_run:
        write_reports(ran.shipped, xml, markdown, "edgetf run")
    return ran


def _refuse_for_a_plan(path: Path, given: Sequence[str], budgets: Gate) -> None:
    """Raise EdgetfError for arguments that the plan at `path` has keys for."""
    for name in given:
        key, is_of_model = _KEYS.get(name, name), name in _OF_MODEL
        where = f"write {key} = ... into {path}{', under [models.NAME]' if is_of_model else ''}"
        raise EdgetfError(f"{name} is for a model, and {path} is a plan", where)
    if budgets != NO_BUDGETS:
        raise EdgetfError(f"budgets are for a model, and {path} is a plan", f"write them into {path}, under [budgets]")


_KEYS = {"device": "devices", "devices": "devices_file"}  # of arguments that plans have under another name
_OF_MODEL = ("samples", "test", "metric", "metric_less_is_better")


@dataclass(frozen=True)
class _How:
    """How a plan is run, and since when, in seconds of `perf_counter`."""

    dry: bool
    force: bool
    wait: bool
    on_event: OnEvent | None
    begin: float


def _engine(
    scheduler: str | None, certificates: Place | None, plan: Plan, on_event: OnEvent | None
) -> AbstractContextManager[Engine]:
    """Where the plan runs: in this process, or on the workers of a scheduler."""
    if scheduler is None:
        return contextlib.nullcontext(Here(plan.devices_file))
    from edgetf.plans.fleet.engine import Fleet

    def note(text: str) -> None:
        with _watched("", on_event, False) as report:
            report(Note(text))

    return Fleet(scheduler, None if certificates is None else Path(certificates), plan, note)


def _run(plan: Plan, path: Path | None, how: _How, engine: Engine) -> Ran:
    earlier = _earlier(plan.out)
    steps = Steps(earlier, how.force, how.dry, _reporter(how.on_event))
    if not how.dry:
        if earlier is None and not how.force:
            _refuse_results_of_others(plan)
        with _writing(plan.out):
            plan.out.mkdir(parents=True, exist_ok=True)
        if path is None:
            path = plan.out / NAME
            _refuse_edited(path, how.force)
            files.write_whole(path, plan_as_toml(plan, plan.out).encode())
    executor = Executor(plan, steps, lambda title: _watched(title, how.on_event, engine.shows), how.wait, engine)
    record = executor.run(path)
    answered = {(one.model, one.device) for one in record.answers}
    before = earlier.shipped if earlier else ()
    kept = tuple(one for one in before if (one.model, one.device) not in answered)
    record = replace(record, seconds=round(perf_counter() - how.begin, 2), earlier=kept)
    if not how.dry:
        files.write_document(plan.out / FILE, record)
        _remove_old(before, record, plan.out)
        write_page(record, plan.budgets, plan.out)
        sweep()
    return Ran(plan.out, record)


def _remove_old(before: Sequence[Answer], record: RunRecord, out: Path) -> None:
    """Remove the files that an earlier run shipped for a model on a device where this one has another answer."""
    kept = {place for one in record.answers for place in (one.file, one.bundle) if place is not None}
    answered = {(one.model, one.device) for one in record.answers}
    for one in before:
        if one.file is None or (one.model, one.device) not in answered:
            continue
        place, old = out / one.model / one.device, Path(one.file)
        is_own = old.parent == place and old.is_file() and files.sha256_file(old) == one.sha256
        for path in (old, old.with_suffix(".edgetf")) if is_own and str(old) not in kept else ():
            path.unlink(missing_ok=True)


def _refuse_results_of_others(plan: Plan) -> None:
    """Raise EdgetfError for a report that no run of a plan has written, and that this one would replace."""
    targets = [plan.out / model.name / device / PAGE for model in plan.models for device in model.devices]
    for path in (plan.out / PAGE, *targets):
        if path.exists():
            raise EdgetfError(f"{path} is there already", "give another folder with -o, or --force to replace it")


def _refuse_edited(path: Path, force: bool) -> None:
    """Raise EdgetfError for a plan that somebody has written or edited, which this run would replace."""
    if path.is_file() and not force and not is_own(path.read_text(errors="replace")):
        hint = f"run it: edgetf run {path}; or give another folder with -o, or --force to replace it"
        raise EdgetfError(f"{path} is not as edgetf run wrote it", hint)


def _refuse_unknown_names(plan: Plan, engine: Engine) -> None:
    """Raise EdgetfError for schemes and devices that there are not, before anything runs."""
    known = list(engine.devices())
    for name in plan.classes:
        if name in known:
            raise EdgetfError(f"{name!r} is a class and a device", "give the class another name")
    for model in plan.models:
        for scheme in model.schemes:
            find_scheme(scheme)
        for device in model.devices:
            for member in plan.members(device):
                if member not in known:
                    hint = nearest(member, [*known, *plan.classes])
                    raise EdgetfError(f"{model.name}: unknown device {member!r}", hint)
    if isinstance(engine, Here):  # devices of workers are known to their own files
        _refuse_unfit_options(plan)


def _refuse_unfit_options(plan: Plan) -> None:
    """Raise EdgetfError for options that a device of the plan cannot have, as far as its settings show it."""
    settings = load_settings(plan.devices_file)
    for name in dict.fromkeys(one for model in plan.models for device in model.devices for one in plan.members(device)):
        try:
            delegate = plan.options.delegate or settings[name].delegate
            options = settings[name].options_of(delegate, plan.options.delegate_options)
            refuse_unfit(settings[name], delegate, (), options)
        except EdgetfError as error:
            raise EdgetfError(f"options of {name}: {error.message}", error.hint) from error
        if plan.options.sustained and not KINDS[settings[name].kind].timed:
            raise EdgetfError(f"{name} measures no times", "leave options.sustained out")


def _devices_file(given: Place | None) -> Path | None:
    """The file that defines devices, if it is not the user's own: the plan names it, and can be run from anywhere."""
    if given is not None:
        return Path(given).resolve()
    here = Path(DEVICES)
    return here.resolve() if here.is_file() else None


def _forget(folder: Path) -> None:
    """Let the user's modules in a folder be loaded again: facts are of the files as they are now."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name != "__main__" and file and Path(file).parent == folder:
            del sys.modules[name]
    importlib.invalidate_caches()


def _earlier(out: Path) -> RunRecord | None:
    """The last run into this folder; none if its record cannot be read: it only gives reasons."""
    try:
        return read_run(out) if (out / FILE).is_file() else None
    except EdgetfError:
        return None


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    from edgetf.system import explained, naming

    with explained(), naming(out):
        yield


def _reporter(on_event: OnEvent | None) -> Any:
    from edgetf.plans.table import print_step, step_in_words

    def send(step: StepRecord) -> None:
        if on_event is None:
            print_step(step)
        else:
            on_event(Note(step_in_words(step)))

    return send


def _watched(title: str, on_event: OnEvent | None, shows: bool) -> AbstractContextManager[OnEvent]:
    """The progress of a step, if the engine `shows` it: a line that moves in a terminal; elsewhere only notes."""
    from rich.console import Console

    console = Console(stderr=True)
    if shows and (on_event is not None or console.is_terminal or console.is_jupyter):
        return progress(title, on_event)

    def receive(event: Event) -> None:
        if isinstance(event, Note) and on_event is not None:
            on_event(event)
        elif isinstance(event, Note):
            console.print(event.text, markup=False, highlight=False, soft_wrap=True)

    return contextlib.nullcontext(receive)


def _path_of_plan(what: Any) -> Path | None:
    """The path of a plan; None if `what` is a model."""
    if not isinstance(what, (str, os.PathLike)):
        return None
    if (Path(what) / NAME).is_file() and not (Path(what) / "saved_model.pb").exists():
        return Path(what) / NAME  # the folder of an earlier run
    if Path(what).suffix != ".toml":
        return None
    if not Path(what).is_file():
        hint = "write one (docs/plans.md), or give a model: edgetf run MODEL --samples TRAIN --test TEST -o ship"
        raise EdgetfError(f"there is no plan {os.fspath(what)}", hint)
    return Path(what)


def _model(what: Any, given: dict[str, Any], devices: tuple[str, ...]) -> PlannedModel:
    """A plan's model from arguments; live objects are stored in the user's cache."""
    if given["test"] is None:
        raise EdgetfError(
            "there are no samples to judge on", "give them as test (--test), with labels if there are any"
        )
    path = path_of_model(what)
    inputs = inputs_of(what, path, None, False)
    own = (
        path.parent.resolve().name if path.name == "saved_model" else path.stem
    )  # the folder says more than the format
    name = own if isinstance(what, (str, os.PathLike)) else "model"
    return PlannedModel(
        name="".join(one if one.isalnum() or one in "-_." else "-" for one in name).strip("-.") or "model",
        path=_absolute(str(path)),
        test=_absolute(source_of_samples(given["test"], inputs)),
        samples=None if given["samples"] is None else _absolute(source_of_samples(given["samples"], inputs)),
        metric=tuple(metric_name(one) for one in given["metric"]),
        metric_less_is_better=given["metric_less_is_better"],
        schemes=given["schemes"],
        devices=devices,
    )


def _absolute(source: Any) -> str:
    text = os.fspath(source)
    return str(Path(text).resolve()) if os.path.exists(text) else str(text)  # noqa: PTH110  # else no path


def _budgets(
    max_drop: float | None,
    max_metric_drop: float | None,
    max_latency_ms: float | None,
    max_bytes: int | None,
    devices: tuple[str, ...],
) -> Gate:
    given = {"max_drop": max_drop, "max_metric_drop": max_metric_drop, "max_bytes": max_bytes}
    budgets = budgets_of(max_drop, max_metric_drop, max_latency_ms, max_bytes)
    latency = {} if max_latency_ms is None else dict.fromkeys(devices, max_latency_ms)
    asked = frozenset(name for name, limit in given.items() if limit is not None)
    return Gate((), replace(budgets, max_latency_ms=None), latency, asked) if asked or latency else NO_BUDGETS
