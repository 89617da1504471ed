"""A variant is written only if it runs on this machine and its outputs make sense."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from edgetf.benchmarks.timing.targets import find_targets
from edgetf.conversion import trial
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.trial import TrialRequest, find_fault, try_variants
from edgetf.flatbuffer import pack, unpack
from edgetf.results import Status, read_conversion
from edgetf.samples import Array
from edgetf.schemes import DEFAULT_SCHEMES
from tests.conftest import Run, Small, ignore

FAR = np.linspace(-2, 2, 8, dtype=np.float32)


def _save(place: Path, call: Callable[..., Any], spec: Any) -> Path:
    class Graph(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[spec])  # type: ignore[untyped-decorator]
        def call(self, x: Any) -> dict[str, Any]:
            return {"y": call(x)}

    graph = Graph()
    tf.saved_model.save(graph, str(place), signatures=graph.call)
    return place


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model whose int16x8 TensorFlow makes and no LiteRT has a kernel for, and samples."""
    folder = tmp_path_factory.mktemp("squares")
    spec = tf.TensorSpec([1, 8], tf.float32, name="x")
    _save(folder / "model", lambda x: tf.math.squared_difference(x, FAR), spec)
    np.savez(folder / "s.npz", x=np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32))
    return folder / "model", folder / "s.npz"


def test_a_variant_that_the_runtime_refuses_is_a_failure_without_a_file(
    squares: tuple[Path, Path], tmp_path: Path
) -> None:
    model, samples = squares
    options = ConvertOptions(("float32", "int16x8"), samples=samples)
    float32, int16x8 = convert(model, tmp_path / "out", options, ignore).variants
    assert float32.status is Status.OK
    assert (float32.ran_in or "").startswith("litert ")
    assert int16x8.status is Status.FAILED
    assert int16x8.error is not None
    assert int16x8.error.code == "cannot-run"
    assert "SquaredDifference only supports" in int16x8.error.message
    assert not (tmp_path / "out" / "int16x8.tflite").exists()


def test_a_failing_default_scheme_is_left_out_and_later_ignored(
    squares: tuple[Path, Path], tmp_path: Path, edgetf: Run
) -> None:
    model, samples = squares
    ended = edgetf("convert", model, "-o", "out", "--samples", samples)
    assert ended.returncode == 0, ended.stderr
    assert "left out" in ended.stdout
    out = tmp_path / "out"
    states = {variant.scheme: variant.status for variant in read_conversion(out).variants}
    kept = [name for name, scheme in DEFAULT_SCHEMES.items() if scheme.activations != "int16"]
    assert states == {name: Status.OK if name in kept else Status.LEFT_OUT for name in DEFAULT_SCHEMES}
    assert [target.name for target in find_targets([out])] == kept
    short = ("--blocks", "2", "--samples", samples)
    assert edgetf("benchmark", out, "-o", "bench", *short).returncode == 0
    assert edgetf("check", "bench", "--max-bytes", 10**9).returncode == 0


def _whole_number_input(x: Any) -> Any:
    return tf.cast(x, tf.float32) / 255.0


def _texts(x: Any) -> Any:
    return tf.strings.length(tf.strings.upper(x))


def test_int16x8_of_pixels_is_left_out_by_default_and_fails_by_name(tmp_path: Path, edgetf: Run) -> None:
    model = _save(tmp_path / "model", _whole_number_input, tf.TensorSpec([1, 8], tf.uint8, name="x"))
    np.savez(tmp_path / "s.npz", x=np.random.default_rng(0).integers(0, 256, (40, 8)).astype(np.uint8))
    ended = edgetf("convert", model, "-o", "all", "--samples", "s.npz")
    assert ended.returncode == 0, ended.stderr
    assert "because CAST has no kernel with 16-bit activations" in " ".join(ended.stdout.split())
    asked = ("--samples", "s.npz", "--scheme", "int16x8", "--scheme", "float32")
    assert edgetf("convert", model, "-o", "named", *asked).returncode == 1


def test_a_conversion_without_any_variant_is_exit_code_1(tmp_path: Path, edgetf: Run) -> None:
    model = _save(tmp_path / "model", _texts, tf.TensorSpec([1], tf.string, name="x"))
    for k, options in enumerate(([], ["--keep-going"], ["--keep-going", "--scheme", "float32"])):
        ended = edgetf("convert", model, "-o", str(k), *options)
        assert ended.returncode == 1
        assert "it does not support strings" in " ".join(ended.stdout.split())
        assert "For a reference of the same model" not in ended.stdout
    states = {variant.status for variant in read_conversion(tmp_path / "0").variants}
    assert states == {Status.FAILED}


def test_integers_that_int16x8_cannot_keep_are_named_and_the_hint_works(tmp_path: Path) -> None:
    """A Keras 3 Embedding compares its indices with 0; it was reported as "a value inside of a loop"."""
    table = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)

    def embed(x: Any) -> Any:
        return tf.gather(table, tf.where(x < 0, x + 50, x))

    model = _save(tmp_path / "model", embed, tf.TensorSpec([1, 6], tf.int64, name="x"))
    np.savez(tmp_path / "s.npz", x=np.random.default_rng(0).integers(0, 50, (40, 6)))
    options = ConvertOptions(("int16x8", "int8", "dynamic"), samples=tmp_path / "s.npz")
    int16x8, int8, dynamic = convert(model, tmp_path / "out", options, ignore).variants
    assert int16x8.error is not None
    assert int16x8.error.message == "ADD, LESS, SELECT of int64 numbers (x) has no kernel with 16-bit activations"
    assert int16x8.error.hint == "use int8 or dynamic, which do not quantize integers"
    assert int8.status is dynamic.status is Status.OK


def _request(variants: dict[str, Path], small: Small, tmp_path: Path) -> TrialRequest:
    np.save(tmp_path / "rows.npy", np.load(small.samples)["image"][:8])
    paths = {name: str(path) for name, path in variants.items()}
    return TrialRequest(paths, paths.get("float32"), "serving_default", {"image": str(tmp_path / "rows.npy")})


def test_a_variant_that_cannot_run_does_not_affect_the_others(small: Small, converted: Path, tmp_path: Path) -> None:
    """A model that is constant, one that is NaN, and one whose op reads a missing tensor."""

    def spoil(name: str, change: Callable[[Any, Any], None]) -> Path:
        model, _ = unpack((converted / "float32.tflite").read_bytes())
        graph = model.subgraphs[0]
        weights = max(
            (model.buffers[t.buffer] for t in graph.tensors), key=lambda b: len(b.data) if b.data is not None else 0
        )
        change(graph, weights)
        (tmp_path / f"{name}.tflite").write_bytes(pack(model))
        return tmp_path / f"{name}.tflite"

    def blind(graph: Any, weights: Any) -> None:
        weights.data = np.zeros_like(weights.data)

    def poison(graph: Any, weights: Any) -> None:
        weights.data = np.full(len(weights.data) // 4, np.nan, np.float32).view(np.uint8)

    def unplug(graph: Any, weights: Any) -> None:
        graph.operators[0].inputs = graph.operators[0].inputs[:1]

    variants = {"float32": converted / "float32.tflite"}
    variants |= {f.__name__: spoil(f.__name__, f) for f in (blind, poison, unplug)}
    variants["int8"] = converted / "int8.tflite"
    tried = try_variants(_request(variants, small, tmp_path))
    assert tried["float32"].problem == tried["int8"].problem == ""
    assert tried["blind"].problem == "its output 'output_0' is the same for 8 samples, but that of float32 varies"
    assert tried["poison"].problem == "its output 'output_0' is not finite on sample 0 of 8, but that of float32 is"
    assert "cannot run it" in tried["unplug"].problem
    assert not any(one.unproven for one in tried.values())


def test_a_variant_that_cannot_be_tried_is_unproven_and_not_failed(
    small: Small, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = _request({"float32": converted / "float32.tflite"}, small, tmp_path)
    monkeypatch.setattr(trial, "_WORKER", ["false"])
    [found] = try_variants(request).values()
    assert (found.problem, found.runtime) == ("", "")
    assert "ended with exit code 1" in found.unproven


def test_inputs_are_generated_if_there_are_no_samples(small: Small, converted: Path, tmp_path: Path) -> None:
    made = convert(small.saved_model, tmp_path / "out", ConvertOptions(), ignore)
    assert all((variant.ran_in or "").startswith("litert ") for variant in made.variants)
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["variants"][0]["ran_in"]


@pytest.fixture(scope="module")
def decisions(tmp_path_factory: pytest.TempPathFactory) -> TrialRequest:
    """A variant that answers a class number, and values whose count differs from sample to sample."""
    folder = tmp_path_factory.mktemp("decisions")
    weights = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    spec = tf.TensorSpec([1, 8], tf.float32, name="x")

    def call(x: Any) -> dict[str, Any]:
        scores = tf.matmul(x, weights)
        return {"kind": tf.argmax(scores, 1), "found": tf.boolean_mask(scores, x[:, :4] > 0)}

    module = tf.Module()
    tf.saved_model.save(module, str(folder / "model"), signatures=tf.function(call, input_signature=[spec]))
    [made] = convert(folder / "model", folder / "out", ConvertOptions(("float32",)), ignore).variants
    assert made.status is Status.OK, made.error
    np.save(folder / "x.npy", np.random.default_rng(1).normal(size=(16, 8)).astype(np.float32))
    path = str(folder / "out" / "float32.tflite")
    return TrialRequest({"float32": path}, path, "serving_default", {"x": str(folder / "x.npy")})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (0.0, "its output 'kind' is the same for 16 samples, but that of float32 varies"),
        (np.nan, "its output 'found' is not finite on sample 0 of 16, but that of float32 is"),
    ],
)
def test_class_numbers_and_outputs_of_any_length_are_checked_too(
    decisions: TrialRequest, tmp_path: Path, value: float, problem: str
) -> None:
    model, _ = unpack(Path(decisions.variants["float32"]).read_bytes())
    weights = max(model.buffers, key=lambda b: len(b.data) if b.data is not None else 0)
    weights.data = np.full(len(weights.data) // 4, value, np.float32).view(np.uint8)
    (tmp_path / "spoilt.tflite").write_bytes(pack(model))
    tried = try_variants(replace(decisions, variants={**decisions.variants, "spoilt": str(tmp_path / "spoilt.tflite")}))
    assert (tried["float32"].problem, tried["float32"].unproven) == ("", "")
    assert (tried["spoilt"].problem, tried["spoilt"].unproven) == (problem, "")


def test_integers_and_booleans_that_went_constant_are_a_fault_however_large_they_are() -> None:
    numbers = np.arange(10_000, 10_016)  # their range is a small share of the largest
    constant = "its output 'y' is the same for 16 samples, but that of float32 varies"
    assert find_fault({"y": np.full_like(numbers, 10_000)}, {"y": numbers}) == constant
    assert find_fault({"y": np.zeros(16, bool)}, {"y": numbers % 2 == 0}) == constant
    assert find_fault({"y": numbers}, {"y": numbers}) == find_fault({"y": numbers * 0}, {"y": numbers * 0}) == ""
    rare = np.eye(16, dtype=int)[:, 3]  # one close decision that quantization changed
    assert find_fault({"y": rare * 0}, {"y": rare}) == ""


def test_outputs_whose_shape_differs_between_samples_are_compared_where_float32_is_finite() -> None:
    exact: list[Array] = [np.zeros((k, 2), np.float32) for k in range(3)]
    nan: Array = np.full((1, 2), np.nan, np.float32)
    bad = [*exact[:2], nan]
    assert find_fault({"y": exact}, {}) == find_fault({"y": exact[::-1]}, {"y": exact}) == ""
    assert find_fault({"y": bad}, {"y": exact}) == (
        "its output 'y' is not finite on sample 2 of 3, but that of float32 is"
    )
    assert find_fault({"y": exact}, {"y": bad}) == find_fault({"y": bad[:2]}, {"y": bad}) == ""
    assert "on any of 2 samples" in find_fault({"y": [nan, np.tile(nan, 2)]}, {})


def _nowhere_finite(x: Any) -> Any:
    return tf.sqrt(-tf.abs(x) - 1.0)


def test_a_batch_that_the_model_fixes_is_filled_or_the_variant_is_unproven(tmp_path: Path) -> None:
    model = _save(tmp_path / "model", _nowhere_finite, tf.TensorSpec([32, 4], tf.float32, name="x"))
    np.savez(tmp_path / "s.npz", x=np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32))
    for n in (64, 20):  # fewer than a batch: inputs are made
        options = ConvertOptions(("float32",), samples=tmp_path / "s.npz", calibration=n)
        [float32] = convert(model, tmp_path / str(n), options, ignore).variants
        assert float32.error is not None, n
        assert "is not finite on any of" in float32.error.message
    whole = _save(tmp_path / "whole", _whole_number_input, tf.TensorSpec([32, 4], tf.uint8, name="x"))
    [made] = convert(whole, tmp_path / "out", ConvertOptions(("float32",)), ignore).variants
    assert made.ran_in
    np.save(tmp_path / "rows.npy", np.zeros((20, 4), np.uint8))
    variants = {"float32": str(tmp_path / "out" / "float32.tflite")}
    tried = try_variants(TrialRequest(variants, None, "serving_default", {"x": str(tmp_path / "rows.npy")}))
    assert tried["float32"].unproven == "it takes 32 samples at a time, but there are only 20"


def test_masks_of_minus_infinity_and_small_outputs_are_not_faults() -> None:
    masked = np.array([[1.0, -np.inf], [2.0, -np.inf]], np.float32)
    assert find_fault({"y": masked}, {}) == ""
    assert find_fault({"y": masked}, {"y": masked}) == ""
    assert "not finite on any of 2 samples" in find_fault({"y": masked * np.nan}, {})
    offset = np.array([[79.0], [79.1]], np.float32)  # less than a step of int8
    assert find_fault({"y": np.full_like(offset, 79.0)}, {"y": offset}) == ""
