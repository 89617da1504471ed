"""One Job from beginning to end: timing in one child, then all samples in as many as there are workers.

Timing comes first, on a machine that is still cool and quiet. Whatever happens, `measurement.json` is written: a
crash of the interpreter is the measurement's error, and what was measured before it is kept.
"""

from __future__ import annotations

import platform
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from .interpreter import JobError, find_runtime
from .isolate import ChildError, Send, run_children
from .job import MEASUREMENT_SCHEMA, Job, Measurement, write_json
from .machine import count_threads, describe_machine, describe_state, resident_bytes
from .outputs import load_inputs, open_session, run_all
from .timing import measure


def run_job(job: Job, out: Path, on_event: Send) -> Measurement:
    """Run `job`, write `measurement.json` and the outputs into `out`, and return the measurement."""
    out.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {
        "schema": MEASUREMENT_SCHEMA,
        "runtime": job.runtime,
        "runtime_version": "",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": describe_machine(),
        "state_before": describe_state(),
        "threads": job.threads,
    }

    def receive(event: dict[str, Any]) -> None:
        if "facts" in event:
            facts.update(event["facts"])
        else:
            on_event(event)

    phase = "timing"
    try:
        on_event({"event": "phase", "phase": phase})
        [timed] = run_children([lambda send: _time(job, out, send)], receive)
        if job.outputs:
            phase = "samples"
            on_event({"event": "phase", "phase": phase})
            facts["samples"] = run_all(job, timed["outputs"], out, on_event)
    except (ChildError, JobError, OSError, ValueError) as error:
        facts.update(error_phase=phase, error=str(error))
        for partial in out.glob("output-*.npy"):
            partial.unlink()
    measurement = Measurement(**facts, state_after=describe_state())
    write_json(out / "measurement.json", measurement)
    return measurement


def _time(job: Job, out: Path, send: Send) -> dict[str, Any]:
    """Load, run once, warm up, measure. Facts are sent as they come, so that a crash does not lose them."""
    runtime = find_runtime(job.runtime)
    send({"facts": {"runtime": runtime.name, "runtime_version": runtime.version}})
    rows = load_inputs(job)
    threads_before, baseline = count_threads(), resident_bytes(peak=False)

    begin = perf_counter_ns()
    session = open_session(job, job.threads)
    load_ns = perf_counter_ns() - begin
    first = [values[: session.batch] for values in rows.values()]
    if len(first[0]) < session.batch:
        raise JobError(f"the model takes {session.batch} samples at once, and there are {len(first[0])}")
    session.feed([tensor.quantize(values) for tensor, values in zip(session.inputs, first)])
    begin = perf_counter_ns()
    session.invoke()
    first_ns = perf_counter_ns() - begin

    threads_after = count_threads()
    started = None if threads_before is None or threads_after is None else threads_after - threads_before
    facts = {
        "load_ns": load_ns,
        "first_ns": first_ns,
        "threads_effective": None if started is None else started + 1,
        "delegate_partitions": session.delegate_partitions(),
        "baseline_rss_bytes": baseline,
        "peak_rss_bytes": resident_bytes(peak=True),  # before the timings take memory of their own
    }
    send({"facts": facts})
    outputs = [
        {"name": t.name, "shape": list(v.shape), "dtype": t.dequantize(v).dtype.str, "batch": session.batch}
        for t, v in zip(session.outputs, session.fetch())
    ]
    with (out / "timings.npz").open("wb") as file:
        np.savez(file, **{name: np.asarray(times) for name, times in measure(session, first, job.timing).items()})
    send({"facts": {"timings": "timings.npz"}})
    return {"outputs": outputs}
