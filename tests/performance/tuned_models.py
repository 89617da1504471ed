"""`edgetf tune` compared with the plain schemes and other tools: `python -m tests.performance.tuned_models [MODEL...]`.

Writes docs/tuning.md's table: for the zoo and published models, the best plain variant, what `edgetf tune` made for
size and for latency, ai-edge-quantizer's recipes and NNCF's search order. All files of a model are judged and timed in
one benchmark, on samples that no search has seen. What is made stays in build/tuning; a model that is done is not made
again. Trained models of the zoo are those of build/zoo (`python -m tests.performance.zoo`).
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import edgetf
from edgetf.benchmarks.judging.distinct import find_distinct
from edgetf.benchmarks.judging.loss import loss_of
from edgetf.models import dqn, rnn
from edgetf.models.cartpole import INPUT, play, policy_of_model
from edgetf.models.zoo import ZOO
from edgetf.recipes import Ending, read_tuning
from edgetf.results import Result, Verdict, read_conversion
from edgetf.samples import Array, Samples
from edgetf.samples.core import LABELS
from tests.performance.other_tuners import Other, quantize_by_recipes, revert_one_by_one
from tests.performance.zoo import WORK as ZOO_FOLDER
from tests.performance.zoo import make as make_zoo
from tests.real.published import MODELS, Published, fetch

WORK, PAGE, MARK = (
    Path("build/tuning"),
    Path("docs/tuning.md"),
    "<!-- the table: python -m tests.performance.tuned_models -->",
)
_PUBLISHED = {"image_classification": 6000, "emotion (Mini-Xception)": 6000, "basic-pitch": 60, "surnames": 2000}
_PUBLISHED |= {"domains (dgaintel)": 2000, "retention (DeepLC)": 1000}
_CALIBRATION = 200
_BLOCKS = 3
_MORE = 6000  # test samples of rnn and dqn
_DECIDING_DB, _NEAR_DB = 60.0, 3.0  # beyond, no decision changes


@dataclass(frozen=True)
class Case:
    """A model with its samples: to calibrate on, to search on, and to judge on."""

    name: str
    model: Path
    calibration: Path
    search: Path
    held_out: Path


def cases(names: list[str]) -> Iterator[Case]:
    for name in ZOO:
        if name in names or not names:
            folder = ZOO_FOLDER / name
            if not (folder / "spent.json").exists():
                make_zoo(name, folder)
            test = _test_samples(name, folder)
            place = WORK / name
            place.mkdir(parents=True, exist_ok=True)
            yield Case(name, folder / "saved_model", folder / "model" / "train.npz", *_halves(place, test, 0))
    published = [model for model in MODELS if model.name in _PUBLISHED and (model.name in names or not names)]
    packages = WORK / "packages"
    if published and not packages.exists():
        packages.mkdir(parents=True)
        if missing := fetch(packages, tuple(published)):
            shutil.rmtree(packages)
            sys.exit(f"cannot download {missing}")
    for one in published:
        yield _case_of(one, packages)


def _test_samples(name: str, folder: Path) -> dict[str, Array]:
    """Samples that no training saw. Of rnn and dqn more than the zoo's own: few decide nothing within a point."""
    if name == "rnn":
        return _arrays(rnn.load_data(test=_MORE).test)
    if name == "dqn":
        import keras

        model = keras.models.load_model(folder / "model" / "model.keras", compile=False)
        states = np.unique(play(policy_of_model(model), dqn.GAMES, dqn.TEST_SEED)[1], axis=0)
        chosen = np.random.default_rng(0).permutation(len(states))[:_MORE]
        values = model.predict(states[chosen], verbose=0)
        return {INPUT: states[chosen], LABELS: np.argmax(values, axis=-1)}
    with np.load(folder / "model" / "test.npz") as archive:
        return dict(archive)


def _arrays(samples: Samples) -> dict[str, Array]:
    labels = {} if samples.labels is None else {LABELS: samples.labels}
    return {name: np.asarray(values) for name, values in samples.inputs.items()} | labels


def _case_of(one: Published, packages: Path) -> Case:
    place = WORK / one.name.partition(" ")[0]
    place.mkdir(parents=True, exist_ok=True)
    [model] = packages.glob(one.inside)
    if one.member:
        shutil.unpack_archive(model, place / "unpacked", "zip")
        model = place / "unpacked" / one.member
    if one.export:
        shutil.rmtree(place / "exported", ignore_errors=True)
        model = one.export(model, place)
    arrays = _distinct(one.samples(packages, _PUBLISHED[one.name]))
    first = min(_CALIBRATION, len(next(iter(arrays.values()))) // 3)
    np.savez(place / "calibration.npz", **{name: values[:first] for name, values in arrays.items()})
    return Case(one.name, model, place / "calibration.npz", *_halves(place, arrays, first))


def _distinct(arrays: dict[str, Array]) -> dict[str, Array]:
    """Each sample once: what is calibrated on cannot prove anything, also as a copy."""
    inputs = {name: values for name, values in arrays.items() if not name.startswith(LABELS)}
    found = find_distinct(inputs)
    if found is None:
        return arrays
    rows = np.sort(np.unique(found.group, return_index=True)[1])
    return {name: np.asarray(values)[rows] for name, values in arrays.items()}


def _halves(place: Path, arrays: dict[str, Array], first: int) -> tuple[Path, Path]:
    """Every second of the samples from `first` on to search on, and the others."""
    for k, name in enumerate(("search", "held_out")):
        np.savez(place / f"{name}.npz", **{key: values[first + k :: 2] for key, values in arrays.items()})
    return place / "search.npz", place / "held_out.npz"


def measure(case: Case) -> list[dict[str, Any]]:
    """All files of a model, with their figures; files that are not proven to be worse than another are kept."""
    place = case.search.parent
    variants = edgetf.convert(case.model, place / "out", samples=case.calibration, force=True)
    source = read_conversion(place / "out").source.path
    search = edgetf.reference(source, case.search, place / "search", on="cpu", force=True)
    held_out = edgetf.reference(source, case.held_out, place / "held_out", on="cpu", force=True)
    found, files = dict[str, dict[str, Any]](), [place / "out"]
    for aim in ("size", "latency"):
        begin = perf_counter()
        tuned = edgetf.tune(variants, search, place / aim, objective=aim, verdict=held_out, no_wait=True, force=True)
        document = tuned.document
        spent = {
            "evaluations": document.evaluations,
            "seconds": perf_counter() - begin,
            "ending": document.ending.value,
        }
        name = f"edgetf tune --for {aim}"
        found[name] = {**spent, "winner": document.winner, "plain": document.plain}
        if tuned.path is not None and document.ending.value == "tuned":
            shutil.copyfile(tuned.path, place / f"tuned-{aim}.tflite")
            files.append(place / f"tuned-{aim}.tflite")
            found[f"tuned-{aim}"] = found.pop(name)
    with np.load(case.calibration) as archive:
        inputs = {one.name: archive[one.name] for one in held_out.document.source.inputs if one.name in archive}
    others: list[Other] = quantize_by_recipes(place / "out" / "float32.tflite", inputs, place) if inputs else []
    others.append(revert_one_by_one(place / "out", place / "search", str(case.calibration), place))
    for other in others:
        found[other.path.stem] = {"evaluations": other.evaluations, "seconds": other.seconds, "problem": other.problem}
        if not other.problem:
            files.append(other.path)
    bench = edgetf.benchmark(files, place / "bench", reference=held_out, blocks=_BLOCKS, no_wait=True, force=True)
    rows = [_row(result) for result in bench.document.results]
    known = {row["file"]: row for row in rows}
    for name, more in found.items():
        known.setdefault(name, {"file": name}).update(more)
    return list(known.values())


def _row(result: Result) -> dict[str, Any]:
    loss = loss_of(result.parity) if result.parity else None
    return {
        "file": result.variant,
        "bytes": result.bytes,
        "ms": result.latency_ms.median if result.latency_ms else None,
        "verdict": result.parity.verdict.value if result.parity else None,
        "reason": result.parity.reason if result.parity else (result.error.message if result.error else ""),
        "kind": loss.kind.value if loss else None,
        "loss": None if loss is None else [loss.value, loss.low, loss.high],
    }


# the page -------------------------------------------------------------------------------------------------------------


def table(done: dict[str, list[dict[str, Any]]]) -> str:
    lines = [
        "| model | file | bytes | ms | lost, or what there is [95 %] | held-out verdict | evaluations | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in done.items():
        for row in _shown(rows):
            lines.append(f"| {name} | {' | '.join(_cells(row))} |")
    return "\n".join(lines)


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best plain variants, and all that was made by a tool. float32 is shown for its latency."""
    plain = [row for row in rows if "evaluations" not in row]
    passing = [row for row in plain if row["verdict"] == Verdict.PASS.value]
    best = [min(passing, key=lambda row: row[key]) for key in ("bytes", "ms")] if passing else []
    kept = [row for row in plain if row["file"] in ("float32", "float16", "int8") or row in best]
    return [*kept, *(row for row in rows if "evaluations" in row)]


def _cells(row: dict[str, Any]) -> list[str]:
    size = f"{row['bytes']:,}" if row.get("bytes") else ""
    latency = f"{row['ms']:.3g}" if row.get("ms") else ""
    verdict = Verdict(row["verdict"]).label if row.get("verdict") else ""
    if "ending" in row:
        answer = row["winner"] if row["ending"] == Ending.PLAIN.value else row["plain"] or row["ending"]
        verdict = verdict or f"answer: {answer}"
    verdict = verdict or row.get("problem") or ""
    counted = str(row["evaluations"]) if row.get("evaluations") else ""
    seconds = f"{row['seconds']:.0f}" if "seconds" in row else ""
    return [row["file"], size, latency, _loss(row), verdict.replace("|", "/"), counted, seconds]


def _loss(row: dict[str, Any]) -> str:
    if not row.get("loss"):
        return ""
    value, low, high = (float("inf") if one is None else one for one in row["loss"])
    if row["kind"] == "agreement":
        return f"{value:.2%} agree [{low:.2%}, {high:.2%}]"
    if row["kind"] == "sqnr":
        return f"{value:.1f} dB [{low:.1f}, {high:.1f}]"
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def summary(done: dict[str, list[dict[str, Any]]]) -> str:
    """What the goals are measured by."""
    counts = [row["evaluations"] for rows in done.values() for row in rows if "ending" in row]
    others = [row["evaluations"] for rows in done.values() for row in rows if row["file"] == "nncf_order"]
    others = [count for count in others if count]
    lines = [
        f"`edgetf tune` took {statistics.median(counts):g} full evaluations in the median, {max(counts)} at most;",
        f"NNCF's order took {statistics.median(others):g} in the median, {max(others)} at most." if others else "",
    ]
    smaller = []
    for name, rows in done.items():
        known = {row["file"]: row for row in rows}
        tuned = known.get("tuned-size")
        passing = [row for row in rows if row.get("verdict") == "pass" and "evaluations" not in row]
        if tuned and tuned["verdict"] == "pass" and passing:
            ratio = min(row["bytes"] for row in passing) / tuned["bytes"]
            smaller.append(f"{name} {ratio:.2f}")
    if smaller:
        lines.append(f"Bytes of the smallest plain variant that passes, beside the tuned file's: {', '.join(smaller)}.")
    lines += predictions()
    return "\n".join(line for line in lines if line)


def predictions() -> list[str]:
    """How far the SQNRs that were predicted from single operations are from those that were measured."""
    float_apart, fixed_apart = list[float](), list[float]()
    for file in sorted(WORK.glob("*/size/tuning.json")):
        for one in read_tuning(file.parent).candidates:
            if one.predicted_db is not None and one.measured_db is not None and one.measured_db < _DECIDING_DB:
                apart = float_apart if not {"int8", "int16x8"} & set(one.parts) else fixed_apart
                apart.append(abs(one.predicted_db - one.measured_db))
    found = []
    for what, apart in (("computes in float", float_apart), ("has int8 operations", fixed_apart)):
        if apart:
            within = sum(one <= _NEAR_DB for one in apart)
            found.append(
                f"Of {len(apart)} mixtures below {_DECIDING_DB:g} dB whose file {what}, the prediction is within"
                f" {_NEAR_DB:g} dB for {within}; {max(apart):.1f} dB at most."
            )
    return found


def main() -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    for case in cases(sys.argv[1:]):
        kept = case.search.parent / "rows.json"
        if not kept.exists():
            begin = perf_counter()
            try:
                rows = measure(case)
            except edgetf.EdgetfError as error:  # it is what there is to report on this model
                rows = [{"file": "", "problem": error.message, "evaluations": None}]
            kept.write_text(json.dumps({"name": case.name, "rows": rows}, indent=1))
            print(f"{case.name}: {perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)  # noqa: T201
    read = [json.loads(path.read_text()) for path in sorted(WORK.glob("*/rows.json"))]
    order = [*ZOO, *_PUBLISHED]
    done = {one["name"]: one["rows"] for one in sorted(read, key=lambda one: order.index(one["name"]))}
    before, _, _ = PAGE.read_text().partition(MARK)
    PAGE.write_text(f"{before}{MARK}\n{summary(done)}\n\n{table(done)}\n")


if __name__ == "__main__":
    main()
