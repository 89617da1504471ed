"""In: mixtures and samples. Out: their answers, or the distance to float32's: on this machine, in forked children.

A mixture that crashes the interpreter has a problem; the others are not affected. These measurements only guide the
search; the proof uses the runner on the device.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.benchmarks.judging.labels import between_classes
from edgetf.benchmarks.rows import Outputs, stack, together
from edgetf.conversion.repairs import compared_outputs
from edgetf.conversion.splice import Mixture, Splicer
from edgetf.device.runner.answers import in_one_line
from edgetf.device.runner.coverage import accelerator_of
from edgetf.device.runner.interpreter import Session, find_runtime, naming_sample
from edgetf.device.runner.isolate import ChildError, Send, run_children
from edgetf.device.runner.job import Coverage, Job, JobError
from edgetf.device.runner.machine import cores
from edgetf.errors import EdgetfError
from edgetf.owned import scratch
from edgetf.samples import Array

NOTHING = 1e-12  # noise, relative to the signal, of an answer that is exact
HOPELESS = 1e12  # of one that is not finite, or missing
_LEAST_ROWS = 16  # that are worth another process


@dataclass(frozen=True)
class Fed:
    """Samples as variants take them: `inputs` by name, shape (n, ...). `unbatched` names inputs of which one sample is
    the whole, and outputs that have one value for each inference; one inference takes `batch` samples. The
    largest value of an output in `classes` decides: of it, only differences between classes count as noise."""

    inputs: Mapping[str, Array]
    signature: str | None = None
    unbatched: frozenset[str] = frozenset()
    batch: int = 1
    classes: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, rows: Any) -> Fed:
        """Those rows: a slice, or numbers."""
        return replace(self, inputs={name: np.asarray(values[rows]) for name, values in self.inputs.items()})


@dataclass(frozen=True)
class Score:
    """The score of a mixture: its bytes, its noise relative to the signal by output (about the mean over the samples,
    as in verdicts); of its `operations` XNNPACK took `delegated` in `partitions` pieces (None: unknown). Or its
    `problem`."""

    bytes: int
    noise: Mapping[str, float] = field(default_factory=dict)
    operations: int | None = None
    delegated: int | None = None
    partitions: int | None = None
    problem: str = ""

    @property
    def db(self) -> float:
        """The SQNR of the worst output."""
        return to_db(max(self.noise.values(), default=HOPELESS))


def to_db(noise: float) -> float:
    """The SQNR for a noise relative to the signal."""
    return float(-10 * np.log10(min(max(noise, NOTHING), HOPELESS)))


def answers(content: bytes, fed: Fed) -> Outputs:
    """The answers of a variant to all samples. Raises EdgetfError if it does not run."""
    with scratch() as work:
        model = work / "variant.tflite"
        model.write_bytes(content)
        batches = len(fed) // fed.batch
        count = max(1, min(cores(), batches // _LEAST_ROWS))
        bounds = [batches * k // count * fed.batch for k in range(count + 1)]
        parts = [fed.take(slice(a, b)) for a, b in pairwise(bounds)]

        def task(k: int) -> Callable[[Send], dict[str, Any]]:
            return lambda send: _write(_run(model, parts[k])[0], work / f"{k}.npz")

        try:
            run_children([task(k) for k in range(count)], lambda event: None)
        except ChildError as error:
            raise EdgetfError(f"it does not run here: {in_one_line(str(error))}", "use another variant") from error
        return joined([_read(work / f"{k}.npz") for k in range(count)])


class Scorer:
    """Scores mixtures on `fed`, each once; `known` has the scores of an earlier run, and `keep` is called after each
    part of the new ones."""

    def __init__(
        self, splicer: Splicer, fed: Fed, known: dict[str, Any], keep: Callable[[], None] = lambda: None
    ) -> None:
        self.splicer, self.fed = splicer, fed
        self._known, self._keep = known, keep
        self._exact: Outputs | None = None

    def score(
        self, mixtures: Sequence[Mixture], on_done: Callable[[int, int], None] = lambda done, of: None
    ) -> list[Score]:
        """The score of each mixture, in order; `on_done` receives how many are done, and of how many."""
        wanted = {self._key(mixture): mixture for mixture in mixtures}
        new = [mixture for key, mixture in wanted.items() if key not in self._known]
        if new and self._exact is None:
            base = self.splicer.splice(Mixture(("float32",) * len(self.splicer.operations)))
            self._exact = answers(base, self.fed)
        step = 8 * cores()
        for begin in range(0, len(new), step):
            part = new[begin : begin + step]
            for mixture, score in zip(part, self._score(part), strict=True):
                self._known[self._key(mixture)] = asdict(score)
            self._keep()
            on_done(min(begin + step, len(new)), len(new))
        return [Score(**self._known[self._key(mixture)]) for mixture in mixtures]

    def _score(self, mixtures: Sequence[Mixture]) -> list[Score]:
        """Each in one of a few children; if one of these dies, each in its own child."""
        count = min(cores(), len(mixtures))
        try:
            found = run_children([self._task(mixtures[k::count]) for k in range(count)], lambda event: None)
            scores: list[Any] = [None] * len(mixtures)
            for k, part in enumerate(found):
                scores[k::count] = part["scores"]
            return [Score(**score) for score in scores]
        except ChildError:
            return [self._alone(mixture) for mixture in mixtures]

    def _alone(self, mixture: Mixture) -> Score:
        try:
            [found] = run_children([self._task([mixture])], lambda event: None)
            return Score(**found["scores"][0])
        except ChildError as error:
            return Score(0, problem=in_one_line(str(error)))

    def _task(self, mixtures: Sequence[Mixture]) -> Callable[[Send], dict[str, Any]]:
        return lambda send: {"scores": [asdict(self._one(mixture)) for mixture in mixtures]}

    def _one(self, mixture: Mixture) -> Score:
        """In a child."""
        assert self._exact is not None
        try:
            content = self.splicer.splice(mixture)
        except EdgetfError as error:
            return Score(0, problem=error.message)
        with scratch() as work:
            model = work / "variant.tflite"
            model.write_bytes(content)
            found, coverage = _run(model, self.fed)
        score = Score(len(content), noise_of(self._exact, found, self.fed.classes))
        if coverage is None:
            return score
        operations, taken, pieces = coverage.operations, coverage.delegated, coverage.partitions
        return replace(score, operations=operations, delegated=taken, partitions=pieces)

    def _key(self, mixture: Mixture) -> str:
        """A digest: the choice of a large model has tens of thousands of characters."""
        rounded = sorted((mixture.rounded or {}).items())
        return hashlib.sha256(json.dumps([mixture.choice, rounded, sorted(self.fed.classes)]).encode()).hexdigest()


def noise_of(exact: Outputs, found: Outputs, classes: frozenset[str] = frozenset()) -> dict[str, float]:
    """The noise of each output whose exact values differ from sample to sample, relative to the signal: of outputs of
    real numbers, where there are any; between the classes of those in `classes`."""
    theirs, ours = together(exact, found)
    noise: dict[str, float] = {}
    for name in compared_outputs(theirs):
        values = theirs[name]
        reads = between_classes if name in classes else np.asarray
        right = np.asarray(reads(values), np.float64).reshape(len(values), -1)
        signal = float(((right - right.mean(axis=0)) ** 2).sum())
        if not np.isfinite(signal) or signal == 0:
            continue
        given = ours.get(name)
        if given is None or given.shape != values.shape:
            noise[name] = HOPELESS
            continue
        apart = float(((np.asarray(reads(given), np.float64).reshape(right.shape) - right) ** 2).sum())
        noise[name] = min(max(apart / signal, NOTHING), HOPELESS) if np.isfinite(apart) else HOPELESS
    return noise


def _run(model: Path, fed: Fed) -> tuple[Outputs, Coverage | None]:
    """In a child: the interpreter's answers, and what its delegate took, as a measurement knows it."""
    job = Job(str(model), {}, fed.signature, sorted(fed.unbatched & set(fed.inputs)), timing=None)
    with _quiet():
        session = Session(find_runtime("auto"), job, 1, {name: values.shape[1:] for name, values in fed.inputs.items()})
    stored = [tensor.quantize(fed.inputs[tensor.name][:]) for tensor in session.inputs]
    pieces: dict[str, list[Array]] = {tensor.name: [] for tensor in session.outputs}
    for begin in range(0, len(fed) // session.batch * session.batch, session.batch):
        session.reset()
        with naming_sample(begin):
            session.feed([values[begin : begin + session.batch] for values in stored])
            session.invoke()
        for tensor, value in zip(session.outputs, session.fetch(), strict=True):
            by_sample = value.shape[:1] == (session.batch,) and tensor.name not in fed.unbatched
            values = tensor.dequantize(value)
            pieces[tensor.name].append(values if by_sample else values[np.newaxis])
    try:
        coverage: Coverage | None = session.coverage(accelerator_of(job))
    except JobError:  # the runtime does not list its nodes
        coverage = None
    return _stacked(pieces, fed.unbatched), coverage


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep native messages off the terminal: hundreds of interpreters print their delegate."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _stacked(pieces: Mapping[str, Sequence[Array]], unbatched: frozenset[str]) -> Outputs:
    values, shapes = {}, {}
    for name, rows in pieces.items():
        values[name], known = stack(rows)
        if known is not None:
            shapes[name] = known
    return Outputs(values, shapes, unbatched & set(values))


def joined(parts: Sequence[Outputs]) -> Outputs:
    """Parts of the samples, one after another."""
    if len(parts) == 1:
        return parts[0]
    values, shapes = {}, {}
    for name in parts[0].values:
        values[name], known = stack([part.values[name] for part in parts])
        if known is not None or any(name in part.shapes for part in parts):
            shapes[name] = np.concatenate([part.shapes_of(name) for part in parts])
    return Outputs(values, shapes, parts[0].unbatched)


def _write(outputs: Outputs, path: Path) -> dict[str, Any]:
    names = list(outputs.values)
    arrays = {f"v{k}": outputs.values[name] for k, name in enumerate(names)}
    arrays |= {f"s{k}": outputs.shapes[name] for k, name in enumerate(names) if name in outputs.shapes}
    with path.open("wb") as file:
        np.savez(file, **arrays)
    path.with_suffix(".json").write_text(json.dumps([names, sorted(outputs.unbatched)]))
    return {}


def _read(path: Path) -> Outputs:
    names, unbatched = json.loads(path.with_suffix(".json").read_text())
    with np.load(path) as archive:
        values = {name: archive[f"v{k}"] for k, name in enumerate(names)}
        shapes = {name: archive[f"s{k}"] for k, name in enumerate(names) if f"s{k}" in archive}
    with suppress(OSError):
        path.unlink()
    return Outputs(values, shapes, frozenset(unbatched))
