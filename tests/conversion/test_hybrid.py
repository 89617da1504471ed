"""float16 and dynamic, made of the float flatbuffer, compared with the converter's own: operation by operation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from edgetf.conversion import halves
from edgetf.conversion.halves import to_float16
from edgetf.conversion.hybrid import to_dynamic
from edgetf.conversion.official import configure
from edgetf.conversion.private import load_private
from edgetf.conversion.savedmodel import fix_shapes, read_source, save_with_shapes
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import Contents, count_ops, pack, parse_contents, unpack
from edgetf.schemes import SCHEMES
from tests.conversion.graphs import chain, constants_of, graphs_of


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The converter's files of a network with convolutions, a loop, a table, attention, and weights that are zero."""
    import keras

    folder, layers = tmp_path_factory.mktemp("kinds"), keras.layers
    keras.utils.set_random_seed(0)
    image, words = keras.Input((12, 12, 8), name="image"), keras.Input((20,), dtype="int32", name="words")
    x = layers.Conv2D(32, 3, activation="relu", name="first")(image)
    x = layers.Conv2D(64, 3, groups=4)(layers.DepthwiseConv2D(3, depth_multiplier=4)(x))
    y = layers.Conv1D(32, 3, padding="causal")(layers.Embedding(300, 32)(words))
    y = layers.GRU(32)(layers.MultiHeadAttention(2, 16)(y, y) + y)
    model = keras.Model([image, words], layers.Dense(10)(layers.Concatenate()([layers.Flatten()(x), y])))
    kernel, bias = model.get_layer("first").get_weights()
    kernel[..., 0], kernel[..., 1], kernel[..., 2] = 0, 1e-7, 1e-9
    model.get_layer("first").set_weights([kernel, bias])
    model.export(str(folder / "model"), verbose=False)
    source = fix_shapes(read_source(folder / "model", None), {})
    fixed, private = save_with_shapes(source, folder / "fixed"), load_private()
    assert private is not None

    def convert(scheme: str, per_channel_dense: bool) -> bytes:
        setting = partial(configure, scheme=SCHEMES[scheme], flex=False, per_channel_dense=per_channel_dense)
        return private.convert(fixed, source.signature, setting)

    made = {scheme: convert(scheme, True) for scheme in ("float32", "float16", "dynamic")}
    return {**made, "one scale": convert("dynamic", False)}


def test_float16_is_what_the_converter_makes(official: dict[str, bytes]) -> None:
    made, kept = to_float16(official["float32"])
    assert kept == ()
    found, expected = graphs_of(made), graphs_of(official["float16"])
    assert found[0] == expected[0]  # a loop's constants are outside of it in one file, inside in the other
    assert constants_of(found) == constants_of(expected) == {"FLOAT16"}
    ours, theirs = (parse_contents("it", content) for content in (made, official["float16"]))
    assert ours.min_runtime == theirs.min_runtime
    assert "reduced_precision_support" in {entry.name.decode() for entry in unpack(made)[0].metadata}


@pytest.mark.parametrize(("name", "per_channel_dense"), [("dynamic", True), ("one scale", False)])
def test_dynamic_is_what_the_converter_makes(official: dict[str, bytes], name: str, per_channel_dense: bool) -> None:
    made = to_dynamic(official["float32"], per_channel_dense)
    assert made is not None
    found, expected = graphs_of(made), graphs_of(official[name])
    assert _without_steps(found) == _without_steps(expected)
    for ours, theirs in zip(_steps(found), _steps(expected), strict=True):
        differ = np.abs(ours.astype(int) - theirs)
        assert differ.max(initial=0) <= 1  # where a weight is between two steps
        assert np.count_nonzero(differ) <= 1e-4 * differ.size
    assert constants_of(found) == {"INT8", "FLOAT32"}
    ours, theirs = (parse_contents("it", content) for content in (made, official[name]))
    assert ours.min_runtime == theirs.min_runtime
    assert _versions(ours) == _versions(theirs)


def _versions(contents: Contents) -> dict[str, int]:
    """The highest version of each kind: the converter writes that for all operations of the kind."""
    return {op.name: op.version for op in sorted(contents.ops, key=lambda op: op.version)}


def _without_steps(graphs: Any) -> Any:
    if isinstance(graphs, tuple) and graphs[:2] == ("constant", "INT8"):
        return (*graphs[:3], *graphs[4:])
    return [_without_steps(one) for one in graphs] if isinstance(graphs, list | tuple) else graphs


def _steps(graphs: Any) -> list[Any]:
    if isinstance(graphs, tuple) and graphs[:2] == ("constant", "INT8"):
        return [np.frombuffer(graphs[3], np.int8)]
    return [found for one in graphs for found in _steps(one)] if isinstance(graphs, list | tuple) else []


def _floats(*values: float) -> Any:
    return np.array(values, np.float32)


def test_float16_leaves_constants_that_it_cannot_hold() -> None:
    constants = _floats(1e-10), _floats(1e6), _floats(0.5, 1e-10), _floats(0.0, 1.0)
    content = chain(*(("ADD", one) for one in constants))
    made, kept = to_float16(content)
    assert kept == ("constant-0", "constant-1")
    assert count_ops(made)["DEQUANTIZE"] == 2
    assert graphs_of(made)[0][0][0][2][1] == ("constant", "FLOAT32", (1,), _floats(1e-10).tobytes(), ())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_a_constant_is_float16_if_its_error_is_at_most_one_percent(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "_PIECE", piece)
    lost = _floats(1e-6), _floats(-np.inf), _floats(np.nan), _floats(1.0, 1e6), _floats(1e-30, 2e-30)
    held = _floats(65504.0), _floats(1e-5, 1e-6), np.zeros((2, 2), np.float32)
    made, kept = to_float16(chain(*(("ADD", one) for one in (*lost, *held))))
    assert kept == tuple(f"constant-{k}" for k in range(len(lost)))
    assert count_ops(made)["DEQUANTIZE"] == len(held)


@pytest.mark.parametrize(
    ("make", "share"),
    [(lambda content: to_float16(content)[0], 0.5), (partial(to_dynamic, per_channel_dense=True), 0.25)],
)
def test_the_float_constants_are_not_in_the_file_any_more(make: Callable[[bytes], bytes], share: float) -> None:
    content = chain(("CONV_2D", np.random.default_rng(0).normal(size=(64, 1, 1, 1024)).astype(np.float32)))
    assert len(make(content)) < (share + 0.05) * len(content)


def test_a_constant_that_is_an_output_stays_float32_there() -> None:
    model, _ = unpack(chain(("ADD", _floats(0.25))))
    model.subgraphs[0].outputs = np.array([*model.subgraphs[0].outputs, 1], np.int32)
    made, _ = to_float16(pack(model))
    [(operations, outputs)] = graphs_of(made)
    assert operations[0][2][1][0] == "unpacked"
    assert outputs[1] == ("constant", "FLOAT32", (1,), _floats(0.25).tobytes(), ())


def test_weights_that_are_not_finite_are_not_quantized_here() -> None:
    weights = np.ones((4, 1, 1, 512), np.float32)
    assert to_dynamic(chain(("CONV_2D", weights)), per_channel_dense=True) is not None
    weights[1, 0, 0, 5] = np.nan
    assert to_dynamic(chain(("CONV_2D", weights)), per_channel_dense=True) is None  # the converter can
    weights[1, 0, 0, 6] = -np.inf  # with this it crashes
    with pytest.raises(EdgetfError, match="the weights constant-0 are infinite"):
        to_dynamic(chain(("CONV_2D", weights)), per_channel_dense=True)


@pytest.mark.parametrize(("kind", "expected"), [("TRANSPOSE_CONV", True), ("ADD", False)])
def test_only_the_converter_quantizes_what_is_not_known_here(kind: str, expected: bool) -> None:
    content = chain((kind, np.ones(2048, np.float32)))
    made = to_dynamic(content, per_channel_dense=True)
    assert (made is None) == expected
    assert made is None or graphs_of(made) == graphs_of(content)  # its weights are not those of a hybrid kernel
