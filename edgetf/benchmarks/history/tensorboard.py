"""A benchmark as TensorBoard's HParams: the settings of each variant with its figures, to sort and compare.

There is one TensorBoard run for each result, in its own folder: `tensorboard --logdir LOGDIR`, then the tab HPARAMS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetf.backend import load_tensorflow
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.results import Benchmark, Result

_METRICS = ("latency_ms", "p99_ms", "bytes", "peak_rss_bytes", "accuracy", "drop_points", "agreement", "sqnr_db")


def write_hparams(document: Benchmark, logdir: Path) -> None:
    """Write the results of `document` to `logdir`. Raises EdgetfError if it already contains events."""
    try:
        from tensorboard.plugins.hparams import api
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorboard", "models") from error
    if list(logdir.rglob("events.out.tfevents.*")):
        raise EdgetfError(f"{logdir} already holds logs", "give another folder: runs of two benchmarks would mix")
    tf = load_tensorflow()
    with tf.summary.create_file_writer(str(logdir)).as_default():
        api.hparams_config(
            hparams=[api.HParam(name) for name in _settings(document.results[0])],
            metrics=[api.Metric(name) for name in _METRICS],
        )
    for result in document.results:
        name = f"{result.device}-{result.variant}"
        with tf.summary.create_file_writer(str(logdir / name)).as_default(step=0):
            api.hparams(_settings(result), trial_id=name)
            for metric, value in _figures(result).items():
                tf.summary.scalar(metric, value)


def _settings(result: Result) -> dict[str, Any]:
    """The settings of a result."""
    return {
        "variant": result.variant,
        "scheme": result.scheme or "unknown",
        "device": result.device,
        "runtime": result.runtime,
        "threads": result.threads,
        "delegate": result.delegate_with_options,
        "verdict": result.parity.verdict.value if result.parity else "none",
    }


def _figures(result: Result) -> dict[str, float]:
    """The figures of a result; with several outputs, those of the worst."""
    outputs = result.parity.outputs if result.parity else ()
    labelled = [output.accuracy for output in outputs if output.accuracy]
    agreeing = [output.agreement.share for output in outputs if output.agreement]
    ratios = [db for output in outputs if (db := output.lowest().centred_db) is not None]
    latency = result.latency_ms
    found = {
        "latency_ms": latency.median if latency else None,
        "p99_ms": latency.p99 if latency else None,
        "bytes": result.bytes,
        "peak_rss_bytes": result.peak_rss_bytes,
        "accuracy": min((one.variant for one in labelled), default=None),
        "drop_points": max((one.drop_points for one in labelled), default=None),
        "agreement": min(agreeing, default=None),
        "sqnr_db": min(ratios, default=None),
    }
    return {name: float(value) for name, value in found.items() if value is not None}
