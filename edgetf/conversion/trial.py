"""Trial runs: each variant is loaded and run on a few samples in the interpreter that is installed here.

`try_variants` starts one process without TensorFlow for all variants, `python -m edgetf.conversion.trial`. It uses the
runner's code and forks for each variant, so that a crash affects only that variant. A variant that cannot be tried here
(no interpreter, ops of the Flex delegate, custom ops, inputs that cannot be generated) is unproven, not faulty.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgetf.device.runner.answers import in_one_line
from edgetf.device.runner.interpreter import JobError, Session, find_runtime, naming_sample
from edgetf.device.runner.isolate import ChildError, run_children
from edgetf.device.runner.job import Job
from edgetf.errors import EdgetfError
from edgetf.events import Answer, ignore
from edgetf.flatbuffer import Contents, builtin_ops, read_contents
from edgetf.process import EventPipe, HungError, run_child
from edgetf.samples import Array

ROWS = 16  # samples: enough to see whether an output varies
_WORKER = [sys.executable, "-m", "edgetf.conversion.trial"]
_IDLE_S, _ENOUGH_S = 300.0, 2.0  # a slow variant runs on fewer samples
_FREE = 64  # the size of a free axis of generated inputs
_VARIES = 0.05  # of the largest value: quantization may remove smaller variations
_FLIPS = 1 / 8  # of the samples: close decisions, such as class numbers, that quantization may change
_NUMBERS = "fiub"  # kinds of dtypes: floats, integers, booleans

Runs = Array | list[Array]  # an output in each run; its shape may differ


@dataclass(frozen=True)
class TrialRequest:
    """The variants to try.

    `variants` are their files by scheme. `yardstick` is a float32 variant to compare with, if there is one; it need not
    be in `variants`. `rows` has a `.npy` file for each input, with samples along axis 0; if empty, inputs are
    generated. The inputs in `unbatched` have no batch axis.
    """

    variants: dict[str, str]
    yardstick: str | None
    signature: str
    rows: dict[str, str]
    unbatched: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """The result for one variant. It ran in `runtime` if `problem` and `unproven` are empty."""

    runtime: str
    problem: str = ""
    unproven: str = ""


def try_variants(request: TrialRequest) -> dict[str, Trial]:
    """Try all variants of the request; returns a Trial for each, by scheme."""
    found: dict[str, Trial] = {}

    def receive(answer: Answer) -> None:
        fields = dict(answer.fields)
        scheme = fields.pop("scheme")
        found[scheme] = Trial(**fields)

    try:
        ended = run_child(_WORKER, ignore, on_answer=receive, request=json.dumps(asdict(request)), idle_s=_IDLE_S)
        reason = f"the process for its trial run {ended.how}: {ended.last_line}"
    except HungError as error:
        reason = f"{error} in its trial run"
    return {scheme: found.get(scheme, Trial("", unproven=reason)) for scheme in request.variants}


# the child ---------------------------------------------------------------------------------------------------------


def main() -> None:
    events = EventPipe()
    request = TrialRequest(**json.loads(sys.stdin.read()))
    with tempfile.TemporaryDirectory() as work:
        exact: dict[str, list[Array]] = {}
        if request.yardstick is not None:
            _, exact = _try_one(Path(request.yardstick), request, {}, Path(work))
        for scheme, path in request.variants.items():
            expected = exact if path != request.yardstick else {}
            trial, _ = _try_one(Path(path), request, expected, Path(work))
            events.answer("tried", scheme=scheme, **asdict(trial))


def _try_one(
    path: Path, request: TrialRequest, exact: Mapping[str, list[Array]], work: Path
) -> tuple[Trial, dict[str, list[Array]]]:
    """Run one variant; returns its Trial and its outputs in each run."""
    try:
        runtime = find_runtime("auto")
        name = f"{runtime.name} {runtime.version}"
        contents = read_contents(path)
        rows = {key: np.load(file, mmap_mode="r") for key, file in request.rows.items()} or _make_rows(contents)
    except (JobError, EdgetfError) as error:
        return Trial("", unproven=str(error)), {}
    foreign = sorted({op.name for op in contents.ops} - builtin_ops())
    out, several = work / f"{path.stem}.npz", len(contents.signatures) > 1
    try:
        [ended] = run_children([lambda send: _run(path, request, rows, out, several)], lambda event: None)
    except ChildError as error:
        if foreign:
            return Trial(name, unproven=f"{name} lacks {', '.join(foreign)}"), {}
        if not request.rows and any(None in spec.shape[1:] for spec in contents.inputs):
            return Trial(name, unproven=f"no samples of a shape that it accepts: {in_one_line(str(error))}"), {}
        return Trial(name, problem=f"{name} cannot run it: {in_one_line(str(error))}"), {}
    if "unproven" in ended:
        return Trial(name, unproven=ended["unproven"]), {}
    with np.load(out) as archive:
        values = iter(archive.values())
        outputs = {key: [next(values) for _ in range(runs)] for key, runs in ended["outputs"].items()}
    return Trial(name, problem=find_fault(outputs, exact)), outputs


def _run(
    path: Path, request: TrialRequest, rows: Mapping[str, Array], out: Path, has_signatures: bool
) -> dict[str, Any]:
    """In a forked process: run the rows and write the outputs to `out`, in the order of the returned numbers of runs.

    Outputs that are not numbers are left out. `has_signatures` is whether the variant has several.
    """
    signature = request.signature if has_signatures else None
    unbatched = request.unbatched if request.rows else []
    job = Job(str(path), {}, signature, unbatched_inputs=unbatched, timing=None)
    try:
        session = Session(find_runtime("auto"), job, 1, {name: values.shape[1:] for name, values in rows.items()})
        stored = [tensor.quantize(values[:]) for tensor, values in zip(session.inputs, rows.values(), strict=True)]
    except JobError as error:  # about the samples: the interpreter itself raises other errors
        return {"unproven": str(error)}
    found: dict[str, list[Array]] = {tensor.name: [] for tensor in session.outputs}
    end = perf_counter() + _ENOUGH_S
    for begin in range(0, len(stored[0]) // session.batch * session.batch, session.batch):
        session.reset()
        with naming_sample(begin):
            session.feed([values[begin : begin + session.batch] for values in stored])
            session.invoke()
        for tensor, value in zip(session.outputs, session.fetch(), strict=True):
            found[tensor.name].append(tensor.dequantize(value))
        if perf_counter() > end:
            break
    if len(stored[0]) < session.batch:
        return {"unproven": f"it takes {session.batch} samples at a time, but there are only {len(stored[0])}"}
    numbers = {name: values for name, values in found.items() if values and values[0].dtype.kind in _NUMBERS}
    with out.open("wb") as file:
        np.savez(file, *(value for values in numbers.values() for value in values))
    return {"outputs": {name: len(values) for name, values in numbers.items()}}


def find_fault(outputs: Mapping[str, Runs], exact: Mapping[str, Runs]) -> str:
    """A fault of `outputs`, compared with those of float32 (`exact`) if there are any; "" if none is found."""
    for name, values in outputs.items():
        here, there = list(values), list(exact.get(name, ()))
        if fault := _not_finite_as(here, there) or _constant(here, there) or _never_finite(here, there):
            return f"its output {name!r} is {fault}"
    return ""


def _not_finite_as(here: list[Array], there: list[Array]) -> str:
    """Where the shapes of a run differ, its values cannot be compared one by one: then all of float32's are finite."""
    n = min(len(here), len(there))
    for k, (values, expected) in enumerate(zip(here, there, strict=False)):
        finite = np.isfinite(expected) if expected.shape == values.shape else np.isfinite(expected).all()
        if (finite & ~np.isfinite(values)).any():
            return f"not finite on sample {k} of {n}, but that of float32 is"
    return ""


def _constant(here: list[Array], there: list[Array]) -> str:
    n = min(len(here), len(there))
    if n == 0 or len({values.shape for values in (*here[:n], *there[:n])}) > 1 or not here[0].size:
        return ""
    found, expected = np.stack(here[:n]), np.stack(there[:n])
    if np.issubdtype(expected.dtype, np.floating):
        fault = _varies(expected) > _VARIES and _varies(found) == 0
    else:
        differ = (found != expected).reshape(n, -1).any(axis=1)
        varies = bool((expected != expected[0]).any())
        fault = varies and not (found != found[0]).any() and int(differ.sum()) > max(1, _FLIPS * n)
    return f"the same for {n} samples, but that of float32 varies" if fault else ""


def _never_finite(here: list[Array], there: list[Array]) -> str:
    def is_never(runs: list[Array]) -> bool:
        nan = all(np.isnan(values).any() for values in runs)
        return all(v.size for v in runs) and (nan or not any(np.isfinite(v).any() for v in runs))

    return f"not finite on any of {len(here)} samples" if is_never(here) and not (there and is_never(there)) else ""


def _varies(values: Array) -> float:
    """The widest range of a value over the runs, as a share of the largest value."""
    finite = np.where(np.isfinite(values), values, 0.0)
    largest = float(np.abs(finite).max())
    return float(np.ptp(finite, axis=0).max()) / largest if largest else 0.0


def _make_rows(contents: Contents) -> dict[str, Array]:
    """Generated inputs, for a model without samples: several distributions; zeros for integers, which may be indices.

    Raises JobError for inputs that cannot be generated.
    """
    random = np.random.default_rng(0)
    rows: dict[str, Array] = {}
    for spec in contents.inputs:
        dtype = "float32" if spec.quantization else spec.dtype
        if dtype not in np.sctypeDict:
            raise JobError(f"{dtype} values for its input {spec.name!r} can neither be generated nor be in samples")
        shape = [spec.shape[0] or 1 if spec.shape else 1, *(axis or _FREE for axis in spec.shape[1:])]
        kinds = [random.uniform(0, 1, shape), random.normal(size=shape), random.uniform(1, 256, shape), np.zeros(shape)]
        whole = np.concatenate(kinds)
        rows[spec.name] = (whole if np.issubdtype(dtype, np.floating) else np.zeros_like(whole)).astype(dtype)
    return rows


if __name__ == "__main__":
    main()
