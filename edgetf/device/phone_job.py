"""A Job for a phone. Out: files and a shell script. Back in: the files that the script wrote, as a Measurement.

The script writes into `out/`: logs of `benchmark_model`, the phone's state, `outputs` (those of all samples, one after
another), `phase` (the current phase) and, if that failed, `failed` with the exit code.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetf.device import android
from edgetf.device import benchmark_model as tool
from edgetf.device.facts import Facts
from edgetf.device.runner.delegates import NO_DELEGATE, PROGRAM, WEIGHT_CACHE, find_delegate
from edgetf.device.runner.interpreter import JobError, Tensor
from edgetf.device.runner.job import (
    DELEGATE_PHASE,
    MEASUREMENT_SCHEMA,
    Coverage,
    Job,
    Measurement,
    Output,
    Pass,
    Power,
    Window,
    write_json,
)
from edgetf.device.runner.pixels import read_pixels
from edgetf.errors import Cause, DeviceError
from edgetf.files import sha256_file
from edgetf.flatbuffer import Contents, TensorInfo, read_contents
from edgetf.texts import printable

_MINUTE_S = 60.0
_ELSEWHERE = "measure it on another device"


@dataclass(frozen=True)
class PhoneJob:
    """A Job, its program, its inputs as `benchmark_model` reads them (in the order of the graph), and its shapes."""

    job: Job
    program: Path
    version: str
    inputs: tuple[Path, ...]
    tensors: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    n: int
    batch: int

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.program, Path(self.job.model), *self.inputs)

    def script(self, places: Mapping[Path, str]) -> str:
        """What the phone's shell is to do. `places` are those of the files there; the current folder is the job's."""
        flags = [
            f"--graph={places[Path(self.job.model)]}",
            *tool.common_flags(self.job, [t.shape for t in self.tensors]),
        ]
        nice = f"nice -n {self.job.nice}" if self.job.nice else ""
        lines = [android.STATE, _RUN.format(command=self._command(places, flags), nice=nice)]
        used = shlex.join(places[path] for path in (Path(self.job.model), self.program, *self.inputs))
        lines += [_VERIFY.format(files=used), "state > out/state-before"]
        lines += [_ROW.format(rows=self._take_row(places)), *self._find_delegate()]
        if self.job.timing is not None:
            # a look at the frequency while it is loaded, before the warm-up is over
            lines += ["phase timing; row 0", "{ sleep 0.3; state > out/state-during; } &"]
            lines += [f"run timing {shlex.join(tool.timing_flags(self.job.timing))}", "wait", "state > out/state-after"]
        if self.job.operations:
            profile = shlex.join(tool.profile_flags("out/profile.csv"))
            lines += ["phase operations; row 0", f"try profile {profile}"]
        for k, seconds in enumerate(_minutes(self.job.sustained_s)):
            lines += [f"phase 'sustained load'; row 0; run sustained-{k} {shlex.join(tool.load_flags(seconds))}"]
            lines += [f"state > out/state-sustained-{k}", _progress((k + 1) * _MINUTE_S, self.job.sustained_s)]
        if self.job.energy_s:
            load = shlex.join(tool.load_flags(self.job.energy_s))
            lines += [_ENERGY.format(seconds=round(self.job.energy_s), load=load)]
        if self.job.outputs:
            lines += [self._pass()]
        return "\n".join([*lines, "phase done", "exit 0", ""])

    def _find_delegate(self) -> list[str]:
        """The digest of a delegate that is a library, which must be on the phone; a weight cache that is filled."""
        if "/" in (library := find_delegate(self.job.delegate).library):
            return [_LIBRARY.format(file=shlex.quote(library))]
        cached = self.job.delegate_options.get(WEIGHT_CACHE) == "true"
        return [f"phase loading; row 0; run cache {shlex.join(tool.fill_flags())}"] if cached else []

    def _command(self, places: Mapping[Path, str], flags: Sequence[str]) -> str:
        place = "$nice "  # see _RUN
        if self.job.affinity is not None:
            place += f"taskset {sum(1 << cpu for cpu in self.job.affinity):x} "
        return f"{place}{shlex.quote(places[self.program])} {shlex.join(flags)}"

    def _take_row(self, places: Mapping[Path, str]) -> str:
        taken = []
        for k, (path, tensor) in enumerate(zip(self.inputs, self.tensors, strict=True)):
            size = prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
            store = shlex.quote(places[path])
            taken.append(f'dd if={store} of=in{k} bs={size} skip="$1" count=1 2> dd-messages || unread')
        return "; ".join(taken)

    def _pass(self) -> str:
        size = sum(prod(t.shape) * np.dtype(t.dtype).itemsize for t in self.outputs)
        once = shlex.join(tool.once_flags("once"))
        return _PASS.format(batches=self.n // self.batch, batch=self.batch, n=self.n, once=once, size=size)


# `run LOG FLAGS...`: a failure ends the job; `try` continues. The job runs without a priority that is refused
_RUN = """
nice="{nice}"; [ -z "$nice" ] || $nice true 2> /dev/null || {{ nice=; echo refused > out/nice; }}
phase() {{ echo "$1" >> out/phase; echo "{{\\"event\\": \\"phase\\", \\"phase\\": \\"$1\\"}}"; }}
fail() {{ rm -f ballast; echo "$1" > out/failed; exit 0; }}
try() {{ log=$1; shift; {command} "$@" > "out/$log.log" 2>&1; }}
run() {{ try "$@"; ended=$?; [ "$ended" -eq 0 ] || {{ cp "out/$1.log" out/failed.log; fail "$ended"; }}; }}
chmod 755 ../../store/* 2>/dev/null
"""

# the digests of what runs, which are the names of the files; one that is another is removed, and sent again next time
_VERIFY = """
for file in {files}; do
  found=$(sha256sum "$file" | cut -d " " -f 1); echo "$found" >> out/digests
  [ "$found" = "${{file##*/}}" ] || {{ rm -f "$file"; fail changed; }}
done
"""

_LIBRARY = """
[ -f {file} ] || fail no-delegate
sha256sum {file} > out/delegate
"""

# `row K`: the inputs of batch K become the files in0, in1, ...
_ROW = """
unread() {{ cp dd-messages out/failed.log; fail no-row; }}
row() {{ {rows}; }}
"""

_PASS = """
phase samples; cat /proc/uptime > out/uptime; : > out/outputs; k=0
while [ "$k" -lt {batches} ]; do
  row "$k"; rm -f once; run samples {once}
  [ -f once ] || {{ cp out/samples.log out/failed.log; fail no-output; }}
  [ "$(wc -c < once)" -eq {size} ] || fail wrong-size
  cat once >> out/outputs || fail full
  k=$((k + 1)); echo "{{\\"event\\": \\"progress\\", \\"done\\": $((k * {batch})), \\"of\\": {n}}}"
done
cat /proc/uptime >> out/uptime
"""

_ENERGY = """
phase energy; row 0; k=0
while [ "$k" -lt {seconds} ]; do power >> out/power-idle; sleep 1; k=$((k + 1)); done
try energy {load} &
k=0
while [ "$k" -lt {seconds} ]; do power >> out/power-active; sleep 1; k=$((k + 1)); done
wait
"""


def read_signature(job: Job) -> Contents:
    """What the job's signature takes and gives. Raises DeviceError for what benchmark_model cannot be given."""
    contents = read_contents(Path(job.model), job.signature)
    for spec in contents.inputs:
        if not spec.shape:
            problem = f"{spec.name!r} takes a single value (rank 0), which benchmark_model reads from no file"
            raise DeviceError(problem, f"export the model with shape [1] there, or {_ELSEWHERE}", Cause.UNFIT)
        if spec.dtype == "string":
            raise DeviceError(f"{spec.name!r} holds texts, which are not sent to phones", _ELSEWHERE, Cause.UNFIT)
    return contents


def prepare(job: Job, program: Path, folder: Path) -> PhoneJob:
    """Quantize the samples of `job` into files in `folder`. Raises DeviceError for what a phone cannot be given."""
    contents = read_signature(job)
    samples = {name: np.load(file, mmap_mode="r", allow_pickle=False) for name, file in job.inputs.items()}
    if set(samples) != {spec.name for spec in contents.inputs}:
        named = sorted(spec.name for spec in contents.inputs)
        raise DeviceError(
            f"the variant's inputs are {named}, the samples have {sorted(samples)}",
            "give samples that fit",
            Cause.UNFIT,
        )
    signature = job.signature or next(iter(contents.signatures), None)
    job = replace(job, signature=signature if contents.graph else None)  # the first graph is run by itself
    n = len(next(iter(samples.values())))
    batched = [spec for spec in contents.inputs if spec.name not in job.unbatched_inputs]
    batch = max([spec.shape[0] or 1 for spec in batched if spec.shape], default=1)
    if n % batch:
        raise DeviceError(
            f"the model takes {batch} samples at once, and {n} are not a multiple", "give as many as fit", Cause.UNFIT
        )
    tensors, files, maps = [], [], read_pixels(job.model) if contents.pixels else {}
    for k, spec in enumerate(contents.inputs):
        values = samples[spec.name]
        tensor = _tensor(spec, values.shape[1:] if spec.name in job.unbatched_inputs else (batch, *values.shape[1:]))
        _write(replace(tensor, pixels=maps.get(spec.name)), values, folder / f"in{k}")
        tensors.append(tensor)
        files.append(folder / f"in{k}")
    outputs = tuple(_tensor(spec, _resolved(spec, batch)) for spec in contents.outputs)
    version = sha256_file(program)[:12]
    return PhoneJob(job, program, version, tuple(files), tuple(tensors), outputs, n, batch)


def read_back(job: PhoneJob, facts: Facts, out: Path) -> Measurement:
    """The Measurement in what the script left in `out`; it is also written there, as the runner does."""
    asked, phase = job.job, (_text(out / "phase").split("\n")[-2:] or [""])[0]
    before, after = (android.read_state(_text(out / f"state-{when}")) for when in ("before", "after"))
    during = android.read_state(_text(out / "state-during"))
    after.update({name: during[name] for name in ("frequency_mhz", "governor") if name in during})
    reported = tool.read_facts(_text(out / "timing.log"))
    watched = tool.read_facts(_text(out / "profile.log"))  # profiling takes time and memory itself
    if "peak_rss_bytes" in watched:
        reported["peak_rss_bytes"] = watched["peak_rss_bytes"]
    timing = tool.read_timing(_text(out / "timing.log"))
    log = "".join(_text(out / f"{name}.log") for name in ("timing", "profile", "samples"))
    profile, delegate = _text(out / "profile.csv"), find_delegate(asked.delegate)
    coverage = tool.read_coverage(log, delegate, profile)
    error, ran = None, _text(out / "digests").split()
    if phase != "done" or (out / "failed").exists():
        failed = _text(out / "failed").strip()
        error = _reason(failed, _text(out / "failed.log"))
        phase = DELEGATE_PHASE if failed == "no-delegate" else phase
    elif asked.timing is not None and timing is None:
        phase, error = "timing", "benchmark_model printed no times"
    elif reason := tool.why_not_delegated(log, delegate):
        phase, error = "timing", reason
    elif unknown := tool.unknown_flags(log):
        phase, error = "timing", f"this benchmark_model does not know --{', --'.join(unknown)}: download a newer one"
    measurement = Measurement(
        schema=MEASUREMENT_SCHEMA,
        runtime=PROGRAM,
        runtime_version=job.version,
        python="",
        numpy="",
        machine=_machine(facts),
        state_before=before,
        state_after=after or before,
        threads=asked.threads,
        delegate=asked.delegate,
        delegate_options=asked.delegate_options,
        delegate_sha256=next(iter(_text(out / "delegate").split()), None),
        affinity=asked.affinity,
        nice=asked.nice,
        nice_effective=0 if (out / "nice").exists() else asked.nice,
        summary=timing,
        sustained=_windows(out, asked.sustained_s) or None,
        power=_power(out),
        ops=tool.read_ops(profile) or None,
        coverage=coverage,
        unknown=_unknown(asked, profile, coverage),
        samples=_samples(job, out) if asked.outputs and not error else None,
        error_phase=(phase or "files") if error else None,
        error=error,
        model_sha256=ran[0] if ran else None,
        **reported,  # type: ignore[arg-type]
    )
    write_json(out / "measurement.json", measurement)
    return measurement


def _unknown(job: Job, profile: str, coverage: Coverage | None) -> dict[str, str]:
    """The reasons why facts that only inform are missing."""
    found = {}
    if coverage is None and job.delegate != NO_DELEGATE:
        found["coverage"] = "benchmark_model printed nothing about the operations that the delegate took"
    if job.operations and not tool.read_ops(profile):
        found["ops"] = "benchmark_model wrote no profile"
    return found


def _reason(failed: str, log: str) -> str:
    if failed == "wrong-size":
        return "the outputs have another size than the variant says: does it have shapes that change?"
    if failed == "no-output":
        known = "output_filepath" not in tool.unknown_flags(log)
        newer = "this benchmark_model does not know --output_filepath: download a newer one"
        return "benchmark_model wrote no outputs" if known else newer
    if failed in ("full", ""):
        return "No space left on device for the outputs"
    if failed == "changed":
        return "a file that was sent before has changed there: it was removed, run it again"
    if failed == "no-delegate":
        return "there is no such delegate on the phone: adb push it, and give its path there"
    if failed == "no-row":
        return printable(f"a sample could not be read there: {log.strip()}")
    return tool.read_failure(log, int(failed) if failed.isdecimal() and len(failed) < 4 else 1)


def _samples(job: PhoneJob, out: Path) -> Pass:
    """Cut `outputs` into the outputs, dequantized, sample by sample, and write each as the runner does."""
    record = np.dtype([(f"{k}", t.dtype, t.shape) for k, t in enumerate(job.outputs)])
    values = np.fromfile(out / "outputs", record)
    if len(values) != job.n // job.batch:
        raise DeviceError("the outputs of the phone are not whole", "run it again")
    outputs = []
    for k, tensor in enumerate(job.outputs):
        stored = values[f"{k}"]
        unbatched = job.job.unbatched_outputs is not None and tensor.name in job.job.unbatched_outputs
        by_sample = tensor.shape[:1] == (job.batch,) and not unbatched
        whole = tensor.dequantize(stored.reshape(-1, *tensor.shape[1:]) if by_sample else stored)
        np.save(out / f"output-{k}.npy", whole)
        outputs.append(Output(tensor.name, f"output-{k}.npy"))
    (out / "outputs").unlink()
    return Pass(job.n, 1, _seconds(_text(out / "uptime")), outputs)


def _seconds(uptime: str) -> float:
    """Between the two lines of /proc/uptime, at least the hundredth that it counts in."""
    uptimes = re.findall(r"^([0-9]{1,9}\.[0-9]{2}) ", uptime, re.MULTILINE)
    return max(float(uptimes[-1]) - float(uptimes[0]), 0.01) if len(uptimes) == 2 else 0.01


def _windows(out: Path, seconds: float) -> list[Window]:
    windows = []
    for k, length in enumerate(_minutes(seconds)):
        summary = tool.read_timing(_text(out / f"sustained-{k}.log"))
        if summary is not None:
            median = summary.mean_ns if summary.median_ns is None else summary.median_ns
            state = android.read_state(_text(out / f"state-sustained-{k}"))
            windows.append(Window(k * _MINUTE_S + length, summary.n, median, state))
    return windows


def _power(out: Path) -> Power | None:
    summary = tool.read_timing(_text(out / "energy.log"))
    if summary is None:
        return None
    seconds = summary.n * summary.mean_ns / 1e9
    return android.read_power(_text(out / "power-idle"), _text(out / "power-active"), summary.n, seconds)


def _minutes(seconds: float) -> list[float]:
    """A load in pieces of a minute, the last as long as is left."""
    whole, rest = divmod(seconds, _MINUTE_S)
    return [_MINUTE_S] * int(whole) + ([rest] if rest >= 1 else [])


def _progress(done: float, of: float) -> str:
    return f'echo \'{{"event": "progress", "done": {round(min(done, of))}, "of": {round(of)}}}\''


def _tensor(spec: TensorInfo, shape: tuple[int, ...]) -> Tensor:
    if spec.dtype == "string":
        raise DeviceError(f"{spec.name!r} holds texts, which are not sent to phones", _ELSEWHERE, Cause.UNFIT)
    scale, zero = (spec.quantization.scale, spec.quantization.zero_point) if spec.quantization else (0.0, 0)
    return Tensor(spec.name, 0, shape, np.dtype(spec.dtype).type, scale, zero)


def _resolved(spec: TensorInfo, batch: int) -> tuple[int, ...]:
    shape = [batch if k == 0 and axis is None else axis for k, axis in enumerate(spec.shape)]
    if None in shape:
        hint = f"fix the inputs: edgetf convert --shape NAME=...; or {_ELSEWHERE}"
        raise DeviceError(f"output {spec.name!r} has a shape that changes, {spec.shape}", hint, Cause.UNFIT)
    return tuple(axis for axis in shape if axis is not None)


def _write(tensor: Tensor, values: NDArray[np.generic], path: Path) -> None:
    """The samples as the tensor stores them, one after another, a few at a time."""
    with path.open("wb") as file:
        for begin in range(0, len(values), 256):
            try:
                file.write(tensor.quantize(np.asarray(values[begin : begin + 256])).tobytes())
            except JobError as error:
                raise DeviceError(str(error), "give samples of the type that the variant takes", Cause.UNFIT) from error


def _machine(facts: Facts) -> dict[str, str]:
    memory = f"{int(facts.memory_mib) / 1024:.1f} GiB" if facts.memory_mib.isdecimal() else ""
    names = ("model", "cpu", "cores", "architecture", "system")
    return {name: value for name, value in [*((n, getattr(facts, n)) for n in names), ("memory", memory)] if value}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
