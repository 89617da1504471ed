"""Benchmarks with any number of variants, made from a measured one by replacing figures."""

from __future__ import annotations

import zlib
from dataclasses import fields, replace
from typing import Any

import numpy as np

from edgetf.benchmarks.judging import statistics
from edgetf.benchmarks.judging.verdict import Budgets, judge_parity
from edgetf.results import Benchmark, Failure, MetricFigures, OutputFigures, OutputParity, Parity, Result, Status


def variant(document: Benchmark, name: str, ms: float = 1.0, size: int = 1000, **changes: Any) -> Result:
    """A variant by int8 whose nine blocks are within 2 % of its median, which is known within 1 %, and which is right
    where the Reference is on 1,000 samples.

    `changes` replace fields of its Result.
    """
    like = int8(document)
    assert like.latency_ms is not None
    latency = replace(like.latency_ms, median=ms, low=0.99 * ms, high=1.01 * ms)
    medians = ms * np.random.default_rng(zlib.crc32(name.encode())).permutation(np.linspace(0.98, 1.02, 9))
    blocks = tuple(replace(like.blocks[0], turn=turn, median_ms=one) for turn, one in enumerate(medians.tolist(), 1))
    made = replace(like, variant=name, bytes=size, latency_ms=latency, blocks=blocks, peak_rss_bytes=40_000_000)
    return replace(made, **{"parity": dropped(like, 0, 0), **changes})


def int8(document: Benchmark) -> Result:
    """The measured variant that others are made from."""
    return next(result for result in document.results if result.variant == "int8")


def float32(document: Benchmark, ms: float = 3.0, size: int = 4000) -> Result:
    """The variant that others are compared with; it passes."""
    return variant(document, "float32", ms, size, scheme="float32", parity=dropped(document.results[0], 0, 0))


def dropped(like: Result, lost: int, won: int, n: int = 1000) -> Parity:
    """Parity with an accuracy that `lost` right answers of the Reference's in `n`, and `won` others."""
    rows = np.arange(n)
    figures = figures_of(like)
    accuracy = statistics.accuracy_drop(rows >= won, (rows < won) | (rows >= won + lost))
    return judge_parity(like.scheme, n, [replace(figures, accuracy=accuracy)], Budgets())


def figures_of(like: Result) -> OutputFigures:
    """The figures of its first output without their verdict."""
    assert like.parity is not None
    output: OutputParity = like.parity.outputs[0]
    return OutputFigures(**{field.name: getattr(output, field.name) for field in fields(OutputFigures)})


def measured(like: Result, drop: float, reach: float) -> Parity:
    """Parity judged by a user's metric."""
    metric = MetricFigures("own:score", None, 1000, 0.9, 0.9 - drop, drop, drop - reach, drop + reach, ())
    return judge_parity(like.scheme, 1000, [figures_of(like)], Budgets(), [metric])


def broken(document: Benchmark, name: str, code: str = "run") -> Result:
    """A variant that did not run, or with another `code` failed otherwise."""
    gone = variant(document, name, status=Status.FAILED, error=Failure(code, "it died"), latency_ms=None, parity=None)
    return replace(gone, blocks=(), measurement=None, peak_rss_bytes=None, added_rss_bytes=None, end_to_end_ms=None)


def with_results(document: Benchmark, *results: Result) -> Benchmark:
    return replace(document, results=results)
