from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.util.tensor_util import make_ndarray

from edgetf.benchmarks.history.tensorboard import write_hparams
from edgetf.errors import EdgetfError
from edgetf.models.run import Run as Training
from edgetf.models.training import train
from edgetf.results import read_benchmark
from tests.conftest import Run


def _events(folder: Path) -> Any:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


@pytest.mark.slow
def test_a_training_leaves_scalars_of_each_epoch_a_graph_and_a_profile(tmp_path: Path) -> None:
    train("mlp", tmp_path / "mlp", False, Training(logs=tmp_path / "logs", profile=True, epochs=2))
    events = _events(tmp_path / "logs")
    assert [event.step for event in events.Tensors("loss")] == [0, 1]
    assert any("mlp" in node.name and node.op == "MatMul" for node in _nodes(events.Graph()))
    assert list((tmp_path / "logs" / "plugins" / "profile").rglob("*.xplane.pb"))


def _nodes(graph: Any) -> list[Any]:
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def test_a_benchmark_becomes_hparams_with_a_run_for_each_variant(
    benchmarked: Path, edgetf: Run, tmp_path: Path
) -> None:
    ended = edgetf("report", benchmarked, "--tensorboard", tmp_path / "logs", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"tensorboard": str(tmp_path / "logs")}
    top = _events(tmp_path / "logs").SummaryMetadata(metadata.EXPERIMENT_TAG)
    experiment = metadata.parse_experiment_plugin_data(top.plugin_data.content)
    assert {metric.name.tag for metric in experiment.metric_infos} >= {"latency_ms", "bytes", "agreement"}
    for result in read_benchmark(benchmarked).results:
        events = _events(tmp_path / "logs" / f"local-{result.variant}")
        started = metadata.parse_session_start_info_plugin_data(
            events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        )
        assert started.hparams["scheme"].string_value == result.scheme
        assert result.latency_ms is not None
        (latency,) = events.Tensors("latency_ms")
        assert float(make_ndarray(latency.tensor_proto)) == pytest.approx(result.latency_ms.median)


def test_two_benchmarks_are_not_mixed(benchmarked: Path, tmp_path: Path) -> None:
    document = read_benchmark(benchmarked)
    write_hparams(document, tmp_path)
    with pytest.raises(EdgetfError, match="already holds logs"):
        write_hparams(document, tmp_path)
