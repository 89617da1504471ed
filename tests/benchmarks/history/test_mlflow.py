"""Results in MLflow: a real server, and none."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

from edgetf.results import read_benchmark
from tests.conftest import Run


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server on the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    store = ("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination", str(tmp_path / "art"))
    command = [sys.executable, "-m", "mlflow", "server", *store, "--workers", "1", "--port", str(port)]
    with (tmp_path / "server.log").open("w") as log:
        child = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    deadline = monotonic() + 120
    while monotonic() < deadline and child.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2).close()
            break
        except OSError:
            sleep(0.2)
    yield url
    child.terminate()
    child.wait(20)


@pytest.mark.slow
def test_a_real_mlflow_has_a_run_for_each_variant(benchmarked: Path, edgetf: Run, server: str) -> None:
    from mlflow import MlflowClient

    document = read_benchmark(benchmarked)

    ended = edgetf("history", "export", benchmarked, "--mlflow", server, "--commit", "aaaa1111")
    assert ended.returncode == 0, ended.stderr
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("edgetf")
    assert experiment is not None
    runs = {run.data.params["variant"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {result.variant for result in document.results}
    int8 = next(result for result in document.results if result.variant == "int8")
    assert int8.latency_ms is not None
    assert runs["int8"].data.metrics["latency_ms_median"] == int8.latency_ms.median
    assert runs["int8"].data.metrics["bytes"] == int8.bytes
    assert "accuracy_drop_points/output_0" in runs["int8"].data.metrics
    assert runs["int8"].data.tags["mlflow.source.git.commit"] == "aaaa1111"
    assert [file.path for file in client.list_artifacts(runs["int8"].info.run_id)] == ["result.json"]


def test_a_missing_mlflow_is_reported(benchmarked: Path, edgetf: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ended = edgetf("history", "export", benchmarked, "--mlflow", "http://127.0.0.1:9")
    assert (ended.returncode, "cannot send to MLflow at http://127.0.0.1:9" in ended.stderr) == (1, True)
