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
        exact: dict[str, Array] = {}
        if request.yardstick is not None:
            _, exact = _try_one(Path(request.yardstick), request, {}, Path(work))
        for scheme, path in request.variants.items():
            expected = exact if path != request.yardstick else {}
            trial, _ = _try_one(Path(path), request, expected, Path(work))
            events.answer("tried", scheme=scheme, **asdict(trial))


def _try_one(
    path: Path, request: TrialRequest, exact: Mapping[str, Array], work: Path
) -> tuple[Trial, dict[str, Array]]:
    """Run one variant; returns its Trial and its outputs, with runs along axis 0."""
    try:
        runtime = find_runtime("auto")
        name = f"{runtime.name} {runtime.version}"
        contents = read_contents(path)
        rows = {key: np.load(file, mmap_mode="r") for key, file in request.rows.items()} or _make_rows(contents)
    except (JobError, EdgetfError) as error:
        return Trial("", unproven=str(error)), {}
    foreign = sorted({op.name for op in contents.ops} - builtin_ops())
    out = work / f"{path.stem}.npz"
    try:
        [ended] = run_children([lambda send: _run(path, request, rows, out)], lambda event: None)
    except ChildError as error:
        if foreign:
            return Trial(name, unproven=f"{name} lacks {', '.join(foreign)}"), {}
        if not request.rows and any(None in spec.shape[1:] for spec in contents.inputs):
            return Trial(name, unproven=f"no samples of a shape that it accepts: {in_one_line(str(error))}"), {}
        return Trial(name, problem=f"{name} cannot run it: {in_one_line(str(error))}"), {}
    if "unproven" in ended:
        return Trial(name, unproven=ended["unproven"]), {}
    with np.load(out) as archive:
        outputs = {key: archive[f"arr_{k}"] for k, key in enumerate(ended["outputs"])}
    return Trial(name, problem=find_fault(outputs, exact)), outputs


def _run(path: Path, request: TrialRequest, rows: Mapping[str, Array], out: Path) -> dict[str, Any]:
    """In a forked process: run the rows and write the float outputs to `out`, in the order of the returned names."""
    signature = request.signature if len(read_contents(path).signatures) > 1 else None
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
    alike = {name: values for name, values in found.items() if values and len({v.shape for v in values}) == 1}
    floats = {name: np.stack(v) for name, v in alike.items() if np.issubdtype(v[0].dtype, np.floating)}
    with out.open("wb") as file:
        np.savez(file, *floats.values())
    return {"outputs": list(floats)}


def find_fault(outputs: Mapping[str, Array], exact: Mapping[str, Array]) -> str:
    """A fault of `outputs`, compared with those of float32 (`exact`) if there are any; "" if none is found.

    Axis 0 of each output is the runs.
    """
    for name, values in outputs.items():
        expected = exact.get(name)
        if expected is None or expected.shape[1:] != values.shape[1:]:
            rows = values.reshape(len(values), -1)
            if rows.size and (np.isnan(rows).any(axis=1).all() or not np.isfinite(rows).any()):
                return f"its output {name!r} is not finite on any of {len(values)} samples"
            continue
        n = min(len(values), len(expected))
        here, there = values[:n], expected[:n]
        if (bad := np.isfinite(there) & ~np.isfinite(here)).any():
            where = int(np.argwhere(bad)[0][0])
            return f"its output {name!r} is not finite on sample {where} of {n}, but that of float32 is"
        if here.size and _varies(there) > _VARIES and _varies(here) == 0:
            return f"its output {name!r} is the same for {n} samples, but that of float32 varies"
    return ""


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
            raise JobError(f"{dtype} values for its input {spec.name!r} cannot be generated: give --samples")
        shape = [spec.shape[0] or 1 if spec.shape else 1, *(axis or _FREE for axis in spec.shape[1:])]
        kinds = [random.uniform(0, 1, shape), random.normal(size=shape), random.uniform(1, 256, shape), np.zeros(shape)]
        whole = np.concatenate(kinds)
        rows[spec.name] = (whole if np.issubdtype(dtype, np.floating) else np.zeros_like(whole)).astype(dtype)
    return rows


if __name__ == "__main__":
    main()
