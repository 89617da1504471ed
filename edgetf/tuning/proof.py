"""In: the winner of a search. Out: one verdict, from the normal benchmark on samples that the search has not seen.

Plain variants that the search has not refuted are measured too. Samples that left one undecided in the search may
decide here: one that costs no more than the winner takes its place. They are tested in an order that is fixed before,
the winner first, then the nearest to float32, and only while all before have passed (fixed-sequence testing): the
probability that a variant at the budget passes stays that of one test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from edgetf import __version__, files
from edgetf.benchmarks.benchmark import benchmark
from edgetf.benchmarks.judging.check import Checked, check_one
from edgetf.benchmarks.judging.verdict import Judged, worst
from edgetf.benchmarks.timing.fixed import read_same
from edgetf.benchmarks.timing.targets import Target
from edgetf.conversion.layers import layer_of
from edgetf.conversion.splice import Splicer
from edgetf.device.kinds import Device
from edgetf.errors import DeviceError, EdgetfError
from edgetf.events import OnEvent, Phase
from edgetf.flatbuffer import parse_contents
from edgetf.owned import remove, scratch
from edgetf.recipes import TUNED, Aim
from edgetf.results import CONVERSION_SCHEMA, Benchmark, Conversion, OperationFrom, Result, Status, Variant, Verdict
from edgetf.samples import Samples, save_samples
from edgetf.tuning.candidates import Candidate
from edgetf.tuning.options import TuneOptions
from edgetf.tuning.search import Cost, Standing, takes_place

BENCH, PROOF = "bench", "proof"  # folders of the results
WINNER = "winner"  # in the folder of a run
AGAIN = "when the device works again, run the same command: it resumes where it stopped"
FILE = f"{TUNED}.tflite"


@dataclass(frozen=True)
class Proof:
    """How the winner is proven: in `folder`, on the samples of `reference`; the results are moved to `out` later.
    `files` are those of the variants by name, with the digests that they had when the search began."""

    folder: Path
    reference: Path
    out: Path
    device: Device
    options: TuneOptions
    conversion: Conversion
    splicer: Splicer
    files: Mapping[str, Target]
    on_event: OnEvent


@dataclass(frozen=True)
class Proven:
    """The verdict on the winner, if there was one, and the smallest or fastest plain variant that passes, if any.

    `instead` is the plain variant that took the winner's place, whose verdict it is then. `refused` is the reason where
    the winner does not run on the device: that is no verdict. `undecided` are the names of what has none.
    """

    winner: Judged | None
    plain: str | None
    document: Benchmark
    instead: str | None = None
    refused: str | None = None
    undecided: tuple[str, ...] = ()


def prove(proof: Proof, winner: Candidate | None, content: bytes, plain: Sequence[Candidate]) -> Proven:
    """Measure the winner, whose file has `content`, and `plain` variants, and judge them.

    `plain` are in the order in which they are tested, the nearest to float32 first. The winner's file is written to
    WINNER with its `conversion.json`. Raises EdgetfError if other bytes were measured than the search has seen.
    """
    options, places = proof.options, [proof.files[one.name].path for one in plain]
    timed = options.aim is Aim.LATENCY or options.max_latency_ms is not None
    if winner is not None:
        place = _write_winner(proof, winner, content)
        places = [place, *places] if winner.plain is None else places
    names = [one.name for one in plain]
    if winner is not None and winner.plain is not None and winner.name not in names:
        places.append(proof.files[winner.name].path)
    measuring = replace(
        options.measuring,
        reference=proof.reference,
        samples=None,
        sequential=None,
        metrics=options.criteria.metrics,
        less_is_better=options.criteria.less_is_better,
        patience=options.measuring.patience if timed else 1,  # times only inform
        force=True,
    )
    proof.on_event(Phase("proving the winner on samples that the search has not seen"))
    document = benchmark(places, proof.device, proof.folder / BENCH, measuring, proof.on_event)
    results = {result.variant: result for result in document.results}
    _refuse_other_bytes(proof, document.results, content)
    name = None if winner is None else TUNED if winner.plain is None else winner.name
    checked = None if name is None else _checked(proof, results[name])
    if checked is not None and checked.failed_run:
        return Proven(None, None, document, refused=_reason(checked).reason)
    document = _settled(proof, document)
    best = _cheapest(proof, results, names)
    if checked is None or name is None:
        return _written(proof, Proven(None, best, document))
    undecided = tuple(what for what, one in checked.parts.items() if one.verdict is Verdict.INCONCLUSIVE)
    proven = Proven(_reason(checked), best, document, undecided=undecided)
    if checked.verdict is Verdict.PASS:
        mine = _cost(results[name], options.aim)
        able = [one for one in names if takes_place(_cost(results[one], options.aim), mine, name == TUNED)]
        if instead := _cheapest(proof, results, [one for one in able if one != name]):
            proven = _replaced(proof, proven, next(one for one in plain if one.name == instead), results[instead])
    return _written(proof, proven)


def _cheapest(proof: Proof, results: Mapping[str, Result], names: Sequence[str]) -> str | None:
    """The smallest or fastest plain variant of those that pass, tested in the order of `names`."""
    # a variant that is too large is accurate nevertheless: limits end no order of tests
    accurate = takewhile(lambda one: _check(proof, results[one], limited=False).verdict is Verdict.PASS, names)
    passing = [one for one in accurate if _check(proof, results[one]).verdict is Verdict.PASS]
    return min(passing, key=lambda one: _cost(results[one], proof.options.aim), default=None)


def _replaced(proof: Proof, proven: Proven, plain: Candidate, result: Result) -> Proven:
    """The proof with a plain variant in the winner's place: a mixture's file and figures go."""
    target = proof.files[plain.name]
    _write_winner(proof, plain, read_same(target.path, target.sha256))
    remove(proof.folder / BENCH / "measurements" / TUNED)
    kept = tuple(one for one in proven.document.results if one.variant != TUNED)
    document = replace(proven.document, results=kept)
    return Proven(_reason(_check(proof, result)), proven.plain, document, instead=plain.name)


def _written(proof: Proof, proven: Proven) -> Proven:
    files.write_document(proof.folder / BENCH / "benchmark.json", proven.document)
    return proven


def _refuse_other_bytes(proof: Proof, results: Sequence[Result], content: bytes) -> None:
    """Raise EdgetfError if another file was measured: the verdict must be that of the bytes in TUNED.tflite."""
    known = {name: target.sha256 for name, target in proof.files.items()}
    known[TUNED] = hashlib.sha256(content).hexdigest()
    for result in results:
        if result.sha256 != known.get(result.variant):
            message = f"{result.path} changed during the search, which therefore cannot be proven"
            raise EdgetfError(message, "run the same command again: it starts over with the new files")


@dataclass(frozen=True)
class Timed:
    """Median latencies on the device by candidate, and for each that does not run there the reason."""

    device: str
    latencies: dict[str, float]
    reasons: dict[str, str]


def time_candidates(
    contents: Mapping[str, bytes], samples: Samples, device: Device, options: TuneOptions, on_event: OnEvent
) -> Timed:
    """Measure each on the device, by short turns, on `samples`."""
    on_event(Phase(f"timing {len(contents)} candidates on {device.name}"))
    with scratch() as work:
        places = []
        save_samples(work / "samples.npz", samples)
        for name, content in contents.items():
            places.append(work / f"{name}.tflite")
            places[-1].write_bytes(content)
        measuring = replace(
            options.measuring,
            reference=None,
            samples=work / "samples.npz",
            allow_nan=samples.allow_nan,
            sequential=None,
            blocks=options.turns,
            patience=1,
            timing=options.turn,
            energy_s=0.0,
        )
        found = benchmark(places, device, work / "bench", measuring, on_event)
    return Timed(
        device.name,
        {one.variant: one.latency_ms.median for one in found.results if one.latency_ms},
        {one.variant: one.error.message if one.error else "" for one in found.results if not one.latency_ms},
    )


def _cost(result: Result, aim: Aim) -> Cost:
    """The same as on the front of the search: near latencies are one step, and then bytes count."""
    latency = result.latency_ms.median if result.latency_ms else None
    return Standing(result.variant, True, result.bytes or 0, latency, 0.0).cost(aim)


def _checked(proof: Proof, result: Result) -> Checked:
    """The verdict on the winner. Raises DeviceError if the device failed: that says nothing about the winner."""
    checked = _check(proof, result)
    if result.error is not None and result.error.code == "device":
        message = f"{result.variant} failed on {proof.device.name}: {_reason(checked).reason}"
        raise DeviceError(message, AGAIN)
    return checked


def _check(proof: Proof, result: Result, limited: bool = True) -> Checked:
    """The verdict on a result, within the limits of bytes and latency if it is `limited`."""
    options, budgets = proof.options, proof.options.criteria.budgets
    if limited:
        budgets = replace(budgets, max_bytes=options.max_bytes, max_latency_ms=options.max_latency_ms)
    return check_one(result, budgets, options.criteria.explicit_drop, compared=True)


def _reason(checked: Checked) -> Judged:
    return Judged(checked.verdict, worst(list(checked.parts.values())).reason)


def _settled(proof: Proof, document: Benchmark) -> Benchmark:
    """The same with the paths that files will have in the results' folder."""
    results = tuple(
        replace(one, path=str((proof.out / FILE).absolute())) if one.variant == TUNED else one
        for one in document.results
    )
    document = replace(document, results=results)
    if proof.reference.parent != proof.folder or document.reference is None or document.samples is None:
        return document
    used = replace(document.samples, source=str((proof.out / PROOF / "samples.npz").absolute()))
    reference = replace(document.reference, samples=used)
    files.write_document(proof.reference / "reference.json", reference)
    return replace(document, samples=used, reference=reference)


def _write_winner(proof: Proof, winner: Candidate, content: bytes) -> Path:
    """Write the winner and its `conversion.json`, with the source of each operation."""
    folder = proof.folder / WINNER
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_bytes(content)
    contents = parse_contents(FILE, content)
    layers = proof.conversion.layers
    origins = tuple(
        OperationFrom(layer_of(one.tensor, layers), one.kind, one.tensor, name)
        for one, name in zip(proof.splicer.operations, winner.choice, strict=True)
    )
    if winner.plain is not None:
        origins = tuple(replace(one, variant=winner.plain) for one in origins)
    variant = Variant(
        scheme=TUNED,
        status=Status.OK,
        path=FILE,
        bytes=contents.bytes,
        sha256=contents.sha256,
        seconds=0.0,
        ops=contents.counts(),
        weight_sparsity=contents.weight_sparsity,
        compressed_bytes=contents.compressed_bytes,
        operations=origins,
        pixels=contents.pixels,
    )
    conversion = replace(
        proof.conversion,
        schema=CONVERSION_SCHEMA,
        edgetf=__version__,
        created=files.now(),
        ranges=None,
        warnings=(),
        variants=(variant,),
    )
    files.write_document(folder / "conversion.json", conversion)
    return folder / FILE
