from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.noise import measure_noise, rows_again
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.benchmarks.rows import Outputs
from edgetf.results import read_reference
from edgetf.samples import make_samples
from tests.conftest import ignore


def test_a_reference_knows_how_far_tensorflow_is_from_itself(reference: Path) -> None:
    document = read_reference(reference)
    ways = {noise.way: noise for noise in document.noise}
    assert set(ways) == {"one sample at a time", "op by op, nothing fused", "compiled by XLA"}
    for noise in ways.values():
        assert noise.n == 192  # complete batches of 64, of 200 samples of a network that takes microseconds
        assert noise.counts
        assert 0 <= noise.max_abs["output_0"] < 1e-5
    floor = document.floor("output_0")
    assert floor == max(noise.max_abs["output_0"] for noise in ways.values())
    assert document.floor("other") is None


def test_a_reference_has_the_latency_batched_and_compiled(reference: Path) -> None:
    document = read_reference(reference)
    assert [(one.batch, one.compiled) for one in document.latencies] == [(1, True), (64, False), (64, True)]
    batched = document.latencies[1].latency_ms
    assert batched.median < 64 * document.latency_ms.median
    assert all(one.latency_ms.n >= 2 for one in document.latencies)


@pytest.mark.parametrize(
    ("n", "batch", "affordable", "rows"),
    [
        (1000, 1, 0, 128),
        (1000, 64, 0, 128),
        (1000, 1, 1024, 1000),
        (5000, 64, 1000, 960),
        (20, 64, 1024, 20),
        (90, 64, 0, 64),
    ],
)
def test_more_samples_are_computed_again_where_they_cost_little(n: int, batch: int, affordable: int, rows: int) -> None:
    assert rows_again(n, batch, affordable) == rows


@pytest.mark.slow
def test_op_by_op_is_what_eager_mode_computes(tmp_path: Path) -> None:
    """And not the fused graph: a deep network whose rounding differs between the two."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(64, activation="elu") for _ in range(20)]
    model = keras.Sequential([keras.Input((32,), name="x"), *layers, keras.layers.Dense(3)])
    model.export(str(tmp_path / "deep"), verbose=False)
    x = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    loaded = tf.saved_model.load(str(tmp_path / "deep"))
    function = loaded.signatures["serving_default"]
    eager = {"output_0": tf.identity(model(x, training=False)).numpy()}
    samples = make_samples("x", {"x": x}, None)
    noise = {noise.way: noise for noise in measure_noise(tf, function, samples, Outputs(eager), 64, ignore, 1.0)}
    assert noise["op by op, nothing fused"].max_abs["output_0"] == 0.0
    fused = function(x=tf.constant(x))["output_0"].numpy()
    if not np.abs(fused - eager["output_0"]).max():
        pytest.skip("on this processor, fused operations round as single ones do: the two cannot be distinguished")


@pytest.mark.slow
def test_an_op_that_xla_lacks_is_reported_and_the_rest_is_measured(tmp_path: Path) -> None:
    import tensorflow as tf

    class Texts(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            length = tf.cast(tf.strings.length(tf.strings.as_string(x)), tf.float32)
            return {"y": x + 0.0 * length}

    module = Texts()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.call)
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
    options = ReferenceOptions(on=Place.CPU)
    document = make_reference(tmp_path / "m", tmp_path / "x.npz", tmp_path / "ref", options, ignore)
    by_way = {noise.way: noise for noise in document.noise}
    assert by_way["compiled by XLA"].why_not
    assert document.floor("y") == 0.0
    assert [(one.batch, one.compiled) for one in document.latencies] == [(20, False)]


def test_a_fixed_batch_is_kept(tmp_path: Path) -> None:
    import tensorflow as tf

    class Pairs(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([2, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.nn.softmax(x)}

    module = Pairs()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.call)
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
    options = ReferenceOptions(on=Place.CPU)
    document = make_reference(tmp_path / "m", tmp_path / "x.npz", tmp_path / "ref", options, ignore)
    assert "one sample at a time" not in {noise.way for noise in document.noise}
    assert {noise.n for noise in document.noise} == {20}
