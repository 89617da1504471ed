"""One Job from beginning to end: what is timed in one child, then all samples in as many as there are workers.

Timing comes first, on a machine that is still cool and quiet. Whatever happens, `measurement.json` is written: a
crash of the interpreter is the measurement's error, and what was measured before it is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import os
import platform
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from .coverage import accelerator_of
from .delegates import MICRO, find_delegate
from .interpreter import JobError, Session, find_runtime, lists_nodes, naming_sample
from .isolate import ChildError, Send, run_children
from .job import DELEGATE_PHASE, MEASUREMENT_SCHEMA, Job, Measurement, state_of, write_json
from .machine import Neighbours, count_threads, describe_machine, describe_state, resident_bytes
from .outputs import describe, first_rows, load_inputs, open_session, run_all
from .power import measure_power
from .timing import measure, sustain
from .xnnpack import with_cache


def run_job(job: Job, out: Path, on_event: Send) -> Measurement:
    """Run `job`, write `measurement.json` and the outputs into `out`, and return the measurement.

    Raises OSError if they cannot be written.
    """
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
        "delegate": job.delegate,
        "delegate_options": job.delegate_options,
        "affinity": job.affinity,
        "nice": job.nice,
    }

    def receive(event: dict[str, Any]) -> None:
        if "facts" in event:
            facts.update(event["facts"])
        elif "window" in event:  # one by one: minutes of load are not lost with the process
            facts.setdefault("sustained", []).append(event["window"])
        else:
            on_event(event)

    timed = bool(job.timing or job.sustained_s or job.energy_s)
    phase = "timing" if timed else "loading"
    try:
        if timed:
            on_event({"event": "phase", "phase": phase})
        if library := find_delegate(job.delegate).library:
            phase, after = DELEGATE_PHASE, phase
            run_children([lambda send: _check_delegate(library)], receive)
            phase = after
        with with_cache(job, out) as job:
            [loaded] = run_children([lambda send: _time(job, out, send)], receive)
            if job.operations and lists_nodes(job):
                on_event({"event": "phase", "phase": "operations"})
                _add_operations(job, facts)
            if job.outputs:
                phase = "samples"
                on_event({"event": "phase", "phase": phase})
                facts["samples"] = run_all(job, loaded["outputs"], out, on_event)
    except (ChildError, JobError, OSError, ValueError) as error:
        phase = DELEGATE_PHASE if getattr(error, "is_of_delegate", False) else phase
        facts.update(error_phase=phase, error=str(error))
        for partial in out.glob("output-*"):
            partial.unlink()
    facts.setdefault("state_after", describe_state())
    measurement = Measurement(**facts)
    write_json(out / "measurement.json", measurement)
    return measurement


def _check_delegate(library: str) -> dict[str, Any]:
    importlib.import_module(".external", __package__).check(library)
    return {}


def _time(job: Job, out: Path, send: Send) -> dict[str, Any]:
    """Load, run once, and measure what the job asks for. Facts are sent as they come: a crash does not lose them."""
    runtime = find_runtime(job.runtime)
    send({"facts": {"runtime": runtime.name, "runtime_version": runtime.version}})
    send({"facts": _take_place(job)})
    send({"facts": _digests(job)})
    rows = load_inputs(job)
    threads_before, baseline = count_threads(), resident_bytes(peak=False)

    begin = perf_counter_ns()
    session = open_session(job, job.threads)
    load_ns = perf_counter_ns() - begin
    first = [first_rows(values, session.batch) for values in rows.values()]
    if len(first[0]) < session.batch:
        raise JobError(f"the model takes {session.batch} samples at once, and there are {len(first[0])}")
    with naming_sample(0):
        session.feed([tensor.quantize(values) for tensor, values in zip(session.inputs, first)])
        begin = perf_counter_ns()
        session.invoke()
    first_ns = perf_counter_ns() - begin

    threads_after, peak = count_threads(), resident_bytes(peak=True)  # before the timings take memory
    started = None if threads_before is None or threads_after is None else threads_after - threads_before
    facts = {
        "load_ns": load_ns,
        "first_ns": first_ns,
        "threads_effective": None if started is None else started + 1,
        "baseline_rss_bytes": baseline,
        "peak_rss_bytes": peak,
        "added_rss_bytes": None if peak is None or baseline is None else peak - baseline,
    }
    if session.arena_bytes is not None:  # times and memory of this machine say nothing about a microcontroller
        facts = {"arena_bytes": session.arena_bytes}
    send({"facts": facts})
    outputs = [
        dataclasses.asdict(describe(job, session, tensor, values))
        for tensor, values in zip(session.outputs, session.fetch())
    ]
    if job.timing is not None:
        neighbours = Neighbours()
        times = measure(session, first, job.timing)
        waited = "" if times.waited is None else f"{times.waited:.3f}"
        state = {**describe_state(), "others_cores": neighbours.cores(), "waited_share": waited}
        with (out / "timings.npz").open("wb") as file:
            np.savez(file, **{name: np.asarray(values) for name, values in times.ns.items()})
        send({"facts": {"timings": "timings.npz", "state_after": state}})
    if job.sustained_s:
        sustain(session.invoke, job.sustained_s, send)
    power = measure_power(session.invoke, job.energy_s) if job.energy_s else None
    if power is not None:
        send({"facts": {"power": dataclasses.asdict(power)}})
    send({"facts": _covered(job, session)})
    return {"outputs": outputs}


def _covered(job: Job, session: Session) -> dict[str, Any]:
    """What the delegate took of the graph, or why that is unknown: read after all times were taken."""
    if job.runtime == MICRO:  # which has no delegates
        return {}
    facts: dict[str, Any] = {}
    if library := find_delegate(job.delegate).library:
        facts["delegate_sha256"] = importlib.import_module(".external", __package__).digest_of(library)
    try:
        coverage = session.coverage(accelerator_of(job))
    except JobError as error:
        return {**facts, "unknown": {"coverage": str(error)}}
    return {**facts, "coverage": dataclasses.asdict(coverage), "delegate_partitions": coverage.partitions}


def _add_operations(job: Job, facts: dict[str, Any]) -> None:
    """Add the times of operations, in a child of its own: if it fails, only these are missing, with the reason."""

    def task(send: Send) -> dict[str, Any]:
        try:
            from .operations import time_operations
        except ImportError as error:
            raise JobError(f"this Python has no ctypes: {error}") from error
        _take_place(job)
        ops, coverage = time_operations(job)
        return {"ops": [dataclasses.asdict(one) for one in ops], "coverage": dataclasses.asdict(coverage)}

    try:
        [found] = run_children([task], lambda event: None)
        facts.update(found)
    except ChildError as error:
        facts["unknown"] = {**facts.get("unknown", {}), "ops": str(error)}


def _digests(job: Job) -> dict[str, Any]:
    """The digests of the files that run: the caller compares them with the expected ones.

    An unreadable file is left to the step that needs it.
    """
    try:
        inputs = {name: _input_sha256(job, name) for name in job.inputs} if job.outputs else None
        return {"model_sha256": _sha256(job.model), "inputs_sha256": inputs}
    except OSError:
        return {}


def _input_sha256(job: Job, name: str) -> str:
    """The digest of the samples of an input, by the caller; they are read only if the file has changed since.

    Raises JobError for a file of `raw_inputs` that has.
    """
    sha256, *state = job.known_inputs.get(name, [""])
    if state and state == state_of(job.inputs[name]):
        return str(sha256)
    if name in job.raw_inputs:
        raise JobError(f"{job.inputs[name]}, the file of the samples, has changed")
    return _sha256(job.inputs[name])


def _sha256(file: str) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        for block in iter(lambda: opened.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _take_place(job: Job) -> dict[str, Any]:
    """Give this process the CPUs and the priority of the job; returns what the system granted.

    `nice_effective` shows whether a priority was refused; CPUs that do not exist raise JobError.
    """
    if job.affinity is not None:
        if not hasattr(os, "sched_setaffinity"):
            raise JobError("this system cannot bind a process to CPUs: leave --affinity out")
        try:
            os.sched_setaffinity(0, job.affinity)
        except OSError as error:
            raise JobError(f"there are no CPUs {job.affinity} to run on: there are {os.cpu_count()}") from error
    if job.nice:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, job.nice)
    granted = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {"affinity_effective": granted, "nice_effective": os.getpriority(os.PRIO_PROCESS, 0)}
