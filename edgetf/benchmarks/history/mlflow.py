"""Export of benchmarks to an MLflow server: a run for each variant on each device, with its figures.

Nothing is sent unless requested. `mlflow-skinny` is the client.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.files import to_plain, to_text
from edgetf.results import Benchmark, MetricState, Parity, Result

EXPERIMENT = "edgetf"


def export(document: Benchmark, commit: str, uri: str) -> int:
    """Send the results of `document` to the MLflow server at `uri`; returns the number of runs. Raises EdgetfError."""
    try:
        import mlflow
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise MissingExtraError("mlflow-skinny", "mlflow") from error
    try:
        client = mlflow.MlflowClient(uri)
        known = client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT)
        for result in document.results:
            run = client.create_run(experiment, run_name=f"{result.variant} on {result.device}")
            now = run.info.start_time
            metrics = [Metric(name, value, now, 0) for name, value in _metrics(result)]
            params = [Param(name, value[:500]) for name, value in _params(document, result) if value]
            tags = [RunTag("edgetf.created", document.created), RunTag("mlflow.source.git.commit", commit)]
            try:
                client.log_batch(run.info.run_id, metrics, params, tags)
                client.log_text(run.info.run_id, to_text(to_plain(result)), "result.json")
            except BaseException:
                client.set_terminated(run.info.run_id, "FAILED")
                raise
            client.set_terminated(run.info.run_id, "FAILED" if result.error else "FINISHED")
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EdgetfError(
            f"cannot send to MLflow at {uri}: {reason}", "check the address, and that the server is running"
        ) from error
    return len(document.results)


def _metrics(result: Result) -> Iterator[tuple[str, float]]:
    for name in (
        "bytes",
        "load_ms",
        "first_ms",
        "peak_rss_bytes",
        "added_rss_bytes",
        "arena_bytes",
        "samples_per_second",
    ):
        if (value := getattr(result, name)) is not None:
            yield name, float(value)
    if result.latency_ms:
        for name in ("median", "low", "high", "p99"):
            if (value := getattr(result.latency_ms, name)) is not None:
                yield f"latency_ms_{name}", float(value)
    if result.energy:
        yield "energy_mj", result.energy.mj
    if result.parity is not None:
        yield from ((_safe(name), value) for name, value in _parity(result.parity))


def _parity(parity: Parity) -> Iterator[tuple[str, float]]:
    for output in parity.outputs:
        if output.accuracy:
            yield f"accuracy/{output.name}", output.accuracy.variant
            yield f"accuracy_drop_points/{output.name}", output.accuracy.drop_points
            yield f"accuracy_drop_points_low/{output.name}", output.accuracy.low
            yield f"accuracy_drop_points_high/{output.name}", output.accuracy.high
        if output.agreement:
            yield f"agreement/{output.name}", output.agreement.share
        if output.sqnr_db is not None:
            yield f"sqnr_db/{output.name}", output.sqnr_db
    for metric in parity.metrics:
        if metric.state is MetricState.FAILED:
            continue
        yield f"metric/{metric.name}", metric.variant
        yield f"metric_drop/{metric.name}", metric.drop


def _params(document: Benchmark, result: Result) -> Iterator[tuple[str, str]]:
    yield from (("variant", result.variant), ("scheme", result.scheme or ""), ("device", result.device))
    yield from (("runtime", result.runtime), ("delegate", result.delegate_with_options))
    yield "threads", str(result.threads)
    yield "machine", document.machine.get("model") or document.machine.get("cpu", "")
    yield "model_sha256", document.reference.source.digest if document.reference else ""
    yield "samples_sha256", document.samples.digest if document.samples else ""
    yield "reference", document.reference.device.sentence if document.reference else ""
    yield "verdict", result.parity.verdict.value if result.parity else ""
    yield "why", result.error.message if result.error else result.parity.reason if result.parity else ""
    yield "emulated", str(result.emulated)


def _safe(name: str) -> str:
    """The name with only characters that MLflow allows."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)[:250]
