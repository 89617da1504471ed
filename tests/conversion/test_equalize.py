"""Channels between two layers are scaled: float results stay, int8 gains, and nothing else is touched."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetf.conversion import equalize as equalization
from edgetf.conversion.calibrate import Calibrator
from edgetf.conversion.constants import skeleton, values_of
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.equalize import equalize, find_pairs
from edgetf.conversion.factors import MOST, factors_of, read_factors, with_factors
from edgetf.conversion.improve import Basis, Improver
from edgetf.conversion.observe import answers
from edgetf.conversion.ranges import RangeChoice
from edgetf.conversion.repairs import HeldOut
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import pack, tensor_name, unpack
from edgetf.results import Calibration, Repair, RepairKind, RepairState, read_conversion
from edgetf.samples import Samples, load_samples, make_samples
from tests.conftest import Small, ignore


@pytest.fixture(scope="module")
def samples(unlike: Small, equalized: Path) -> Samples:
    return load_samples(unlike.samples, read_conversion(equalized).source.inputs)


@pytest.fixture(scope="module")
def exact(equalized: Path) -> bytes:
    return (equalized / "float32.tflite").read_bytes()


def _repair(folder: Path) -> Repair:
    [variant] = [one for one in read_conversion(folder).variants if one.scheme == "int8"]
    [repair] = [one for one in variant.repairs if one.kind is RepairKind.EQUALIZATION]
    return repair


# a conversion ---------------------------------------------------------------------------------------------------------


def test_int8_of_a_network_with_unlike_channels_gains_many_db_and_keeps_it(equalized: Path) -> None:
    repair = _repair(equalized)
    assert repair.state is RepairState.KEPT
    assert repair.before_db is not None
    assert repair.after_db is not None
    assert repair.after_db > repair.before_db + 10
    assert repair.detail == "2 of 2 tensors"
    factors = factors_of((equalized / "int8.tflite").read_bytes())
    assert len(factors) >= 3  # the two layers and the pool between them
    for name in ("float32", "float16", "dynamic"):
        assert factors_of((equalized / f"{name}.tflite").read_bytes()) == {}


def test_given_ranges_and_other_choices_leave_the_channels_alone(
    equalized: Path, unlike: Small, tmp_path: Path
) -> None:
    by_choice = ConvertOptions(("int8",), samples=unlike.samples, choice=RangeChoice())
    by_file = ConvertOptions(("int8",), ranges=equalized / "ranges.json")  # that of an equalized file, again
    for name, options in (("choice", by_choice), ("file", by_file)):
        convert(unlike.saved_model, tmp_path / name, options, ignore)
        [variant] = read_conversion(tmp_path / name).variants
        assert variant.repairs == ()
        assert factors_of((tmp_path / name / "int8.tflite").read_bytes()) == {}


# float results --------------------------------------------------------------------------------------------------------


def _assert_same(one: bytes, other: bytes, given_samples: Samples) -> None:
    """Up to float rounding."""
    right, found = (answers(content, given_samples, range(8)) for content in (one, other))
    for name, exact_values in right.items():
        values = np.asarray(exact_values, np.float64)
        np.testing.assert_allclose(
            np.asarray(found[name], np.float64), values, rtol=1e-3, atol=1e-5 * np.abs(values).max()
        )


def test_the_equalized_flatbuffer_answers_as_before(exact: bytes, samples: Samples) -> None:
    equal = equalize(exact, find_pairs(exact), samples, range(32))
    assert equal.content != exact
    _assert_same(exact, equal.content, samples)


def _layer(kind: str, y: Any, random: np.random.Generator) -> Any:
    import keras

    layers: Any = keras.layers
    match kind:
        case "conv":
            return layers.Conv2D(int(random.integers(2, 6)), 3, padding="same", activation="relu")
        case "linear":
            return layers.Conv2D(5, 1, use_bias=False)
        case "grouped":
            return layers.Conv2D(4, 1, groups=2 - y.shape[-1] % 2)
        case "depthwise":
            return layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu")
        case "relu6":
            return layers.Conv2D(4, 1, activation="relu6")
        case "pad":
            return layers.ZeroPadding2D(1)
        case "pool":
            return layers.MaxPooling2D(2, 1)
        case _:
            return layers.AveragePooling2D(2, 1)


def _network(random: np.random.Generator, kinds: Sequence[str]) -> bytes:
    """A random chain of layers, as the converter writes it."""
    import keras
    import tensorflow as tf

    layers: Any = keras.layers
    x = keras.Input((6, 6, 3), batch_size=1)
    y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    for kind in kinds:
        y = _layer(kind, y, random)(y)
    y = layers.Flatten()(y) if random.integers(2) else layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, layers.Dense(3)(layers.Dense(5, activation="relu")(y)))
    for layer in model.layers:
        layer.set_weights([w * np.exp(random.normal(0, 2, w.shape[-1])) for w in layer.get_weights()])
    converter: Any = tf.lite.TFLiteConverter
    content: bytes = converter.from_keras_model(model).convert()
    return content


_KINDS = ("conv", "linear", "grouped", "depthwise", "relu6", "pad", "pool", "mean")


@settings(max_examples=6)
@given(kinds=st.lists(st.sampled_from(_KINDS), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_any_chain_of_layers_answers_as_before(kinds: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    content = _network(random, kinds)
    name = next(iter(_inputs(content)))
    given_samples = make_samples("random", {name: random.normal(size=(8, 6, 6, 3)).astype(np.float32)}, None)
    pairs = find_pairs(content)
    assert pairs  # the two dense layers at least
    _assert_same(content, equalize(content, pairs, given_samples, range(8)).content, given_samples)


def _inputs(content: bytes) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    return dict(Interpreter(model_content=content).get_signature_runner().get_input_details())


# pairs ----------------------------------------------------------------------------------------------------------------


def test_pairs_reach_through_what_commutes_and_end_at_what_does_not(exact: bytes) -> None:
    model, schema = unpack(exact)
    kinds = [kind for _, kind in skeleton(model, schema, model.subgraphs[0])]
    first, second = find_pairs(exact)
    assert [kinds[k] for k in first.scaled] == ["CONV_2D", "MAX_POOL_2D"]
    assert kinds[second.last] == "FULLY_CONNECTED"
    assert (first.last, first.channels, second.channels) == (second.first, 24, 16)


def test_a_tensor_with_another_reader_or_that_is_an_output_is_in_no_pair(exact: bytes) -> None:
    [first, second] = find_pairs(exact)
    for pair, others in ((first, [second]), (second, [first])):
        model, schema = unpack(exact)
        ops = [op for op, _ in skeleton(model, schema, model.subgraphs[0])]
        graph = model.subgraphs[0]
        graph.outputs = np.array([*graph.outputs, ops[pair.scaled[-1]].outputs[0]], np.int32)
        assert find_pairs(pack(model)) == others


def test_an_activation_that_saturates_ends_a_pair(exact: bytes) -> None:
    model, schema = unpack(exact)
    ops = [op for op, _ in skeleton(model, schema, model.subgraphs[0])]
    ops[find_pairs(exact)[0].first].builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    assert find_pairs(pack(model)) == find_pairs(exact)[1:]


def test_a_constant_that_another_operation_reads_stays_as_it_is(exact: bytes, samples: Samples) -> None:
    model, schema = unpack(exact)
    graph, [pair, _] = model.subgraphs[0], find_pairs(exact)
    twin = copy.copy([op for op, _ in skeleton(model, schema, graph)][pair.first])
    result = copy.copy(graph.tensors[int(twin.outputs[0])])
    result.name = b"twin"
    graph.tensors.append(result)
    twin.outputs = np.array([len(graph.tensors) - 1], np.int32)
    graph.operators = [*graph.operators, twin]
    graph.outputs = np.array([*graph.outputs, *twin.outputs], np.int32)
    changed, _ = unpack(equalize(pack(model), [pair], samples, range(8)).content)
    after, before = changed.subgraphs[0], [values_of(model, graph, int(k)) for k in twin.inputs[1:]]
    [left] = [op for op in after.operators if tensor_name(after.tensors[int(op.outputs[0])]) == "twin"]
    for k, values in zip(left.inputs[1:], before, strict=True):
        np.testing.assert_array_equal(values_of(changed, after, int(k)), values)
    first = [op for op, _ in skeleton(changed, schema, after)][pair.first]
    assert not np.array_equal(values_of(changed, after, int(first.inputs[2])), before[1])


def test_dead_channels_keep_the_factor_1_and_factors_are_limited() -> None:
    values = np.array([0.0, 1e-30, 1.0, 1e6])
    exponents = equalization._exponents(values, None)
    assert exponents[0] == 0
    assert np.abs(exponents).max() <= MOST
    assert list(equalization._exponents(np.zeros(3), np.ones(3))) == [0, 0, 0]
    assert list(equalization._exponents(np.ones(3), np.zeros(3))) == [0, 0, 0]
    assert equalization._exponents(np.array([np.nan, 1.0, 4.0]), None)[0] == 0


# the choice -----------------------------------------------------------------------------------------------------------


def _no_ranges() -> Any:
    return None


def test_a_model_without_pairs_is_returned_before_any_work(
    exact: bytes, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetf.conversion.improve.find_pairs", lambda content: [])
    plain = Basis(exact, _no_ranges())

    def never(*arguments: object) -> Any:
        raise AssertionError

    assert Improver(exact, samples).equalize(plain, never, never) is plain


def _calibrator(samples: Samples, content: bytes) -> Calibrator:
    return Calibrator(content, samples, Calibration(samples.used(), len(samples), 0), lambda done, of: None)


def test_what_does_not_help_is_recorded_and_not_kept(exact: bytes, samples: Samples, equalized: Path) -> None:
    int8 = (equalized / "int8.tflite").read_bytes()
    plain, observe = Basis(exact, _no_ranges()), partial(_calibrator, samples)
    improver = Improver(exact, samples)
    same = improver.equalize(plain, observe, lambda basis: int8)
    assert same == replace(plain, repairs=same.repairs)
    [refused] = same.repairs
    assert (refused.kind, refused.state) == (RepairKind.EQUALIZATION, RepairState.REFUSED)
    assert refused.before_db == refused.after_db is not None
    [needless] = improver.equalize(plain, observe, lambda basis: basis.float32).repairs
    assert needless.state is RepairState.NOT_TRIED
    assert "have at least 40 dB" in needless.reason
    [few] = Improver(exact, samples.take(19)).equalize(plain, observe, lambda basis: int8).repairs
    assert "too few to choose by" in few.reason


@pytest.mark.parametrize(("gain_db", "made_in_all"), [(0.4, 3), (0.6, 7)])
def test_ranges_are_chosen_only_if_min_max_of_a_few_samples_gains(
    gain_db: float, made_in_all: int, exact: bytes, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three files are made: the plain one, and quickly both; then three by their choices of ranges, and the best."""
    made: list[Basis] = []

    def quantize(basis: Basis) -> bytes:
        made.append(basis)
        return str(len(made)).encode()

    monkeypatch.setattr(HeldOut, "score", lambda self, content: 20.0 + gain_db * (content == b"3"))
    found = Improver(exact, samples).equalize(Basis(exact, _no_ranges()), partial(_calibrator, samples), quantize)
    [refused] = found.repairs
    assert refused.state is RepairState.REFUSED
    assert len(made) >= made_in_all
    assert (len(made) == 3) is (gain_db < 0.5)
    if gain_db < 0.5:
        assert (refused.before_db, refused.after_db, refused.detail) == (20.0, 20.4, "min-max of 32")


# metadata -------------------------------------------------------------------------------------------------------------


def test_factors_are_read_as_they_were_written_and_damaged_ones_are_refused(exact: bytes) -> None:
    factors = {0: (-3, 0, MOST), 1: (-3, 0, MOST), 4: (7,)}
    content = with_factors(exact, factors)
    model, _ = unpack(content)
    assert read_factors(model) == factors
    assert with_factors(exact, {}) == exact
    entry = model.metadata[-1]
    for damaged in (b"", b"{}x", b'[[["a"], "AAA="]]', b'[[[0], "%"]]', b'[[[0], ""]]', b"[3]"):
        model.buffers[entry.buffer].data = np.frombuffer(damaged, np.uint8)
        with pytest.raises(EdgetfError, match="the metadata edgetf_equalized"):
            read_factors(model)
