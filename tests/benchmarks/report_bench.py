"""A benchmark with everything that a report can show, and with names that try to break it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgetf import files
from edgetf.benchmarks.diagnosis.ladder import Ladder, Rung, write_explanation
from edgetf.benchmarks.diagnosis.layers import Layer
from edgetf.benchmarks.judging import parity, verdict
from edgetf.benchmarks.judging.labels import interpret
from edgetf.benchmarks.pinned import load_outputs
from edgetf.figures import Minute, Sustained
from edgetf.results import Benchmark, Result, Verdict, read_benchmark, read_reference
from edgetf.samples import load_samples

EVIL = "<script>document.title='broken'</script><b>$x_$"


def rich(benchmarked: Path, reference: Path, out: Path) -> Path:
    """A copy of `benchmarked` at `out`, with its `reference`, in which int8 decides wrongly on 60 samples."""
    shutil.copytree(benchmarked, out)
    shutil.copytree(reference, out.parent / "ref")
    document = read_benchmark(out)
    results = [_warm(result, k) for k, result in enumerate(document.results)]
    results[0] = replace(results[0], variant=EVIL)
    spoilt = [result.variant for result in results].index("int8")
    results[spoilt] = _spoil(results[spoilt], document, out, reference)
    files.write_document(out / "benchmark.json", replace(document, results=tuple(results)))
    rungs = (
        Rung("SavedModel to float32", Verdict.PASS, "largest error 1e-07", 1e-7, 0.0),
        Rung("float32 to int8", Verdict.FAIL, EVIL, 0.9, 1.0),
    )
    layers = [Layer(EVIL, "CONV_2D", "t", 3.0, 2.0, "channel 3 is far larger", "weight decay")]
    write_explanation(
        out, Ladder("int8", "local", 200, rungs, "float32 to int8", Verdict.FAIL, "accuracy drop"), layers
    )
    return out


def _warm(result: Result, k: int) -> Result:
    blocks = tuple(replace(b, temperature_c=f"{50 + b.turn}", frequency_mhz="1500") for b in result.blocks)
    minutes = tuple(Minute(1.0 + 0.1 * m * k, 100, 60.0 + m, 1500.0) for m in range(3))
    return replace(result, blocks=blocks, sustained=Sustained(180.0, minutes, 1.2))


def _spoil(result: Result, document: Benchmark, out: Path, reference: Path) -> Result:
    pinned = read_reference(reference)
    assert document.samples is not None
    labels = load_samples(Path(document.samples.source), pinned.source.inputs).labels
    file = out / str(result.measurement) / "samples" / "output-0.npy"
    values = np.load(file)
    values[:60] = np.roll(values[:60], 1, axis=1)
    np.save(file, values)
    outputs = load_outputs(pinned, reference).values
    read = interpret(outputs, labels)["output_0"]
    figures = parity.with_floor(parity.compare("output_0", outputs["output_0"], values, read), pinned)
    found = verdict.judge_parity("int8", len(values), [figures], verdict.Budgets())
    assert found.verdict is Verdict.FAIL
    return replace(result, parity=found)
