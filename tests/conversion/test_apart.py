from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from edgetf.conversion import apart, engine, large
from edgetf.conversion.apart import Apart, DifferentError, convert_apart
from edgetf.conversion.engine import Engines, Observed
from edgetf.conversion.official import configure
from edgetf.conversion.private import Private
from edgetf.conversion.savedmodel import fix_shapes, read_source, save_with_shapes
from edgetf.flatbuffer import listed, tensor_name, unpack
from edgetf.schemes import SCHEMES
from tests.conversion.graphs import graphs_of

SIZE = 192  # the converter leaves constants of more than a million bits to a FILL
Call = Callable[..., Any]
_CONFIGURE = partial(configure, scheme=SCHEMES["float32"], flex=False)


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "_LEAST", 130_000)
    monkeypatch.setattr(apart, "_LEAST", 130_000)
    monkeypatch.setattr(apart, "_AT_ONCE", 1)
    monkeypatch.setattr(apart, "_GROUPS", 100)


def save(out: Path, call: Call, spec: Any, **values: Any) -> Path:
    """A SavedModel that calls `call` with its input and its variables; `unread` are two that it does not read."""
    module = tf.Module()
    module.read = {name: tf.Variable(value) for name, value in values.items()}
    module.unread = [tf.Variable(normal(300, SIZE, seed=9)) for _ in range(2)]
    module.call = tf.function(lambda x: call(x, **module.read)).get_concrete_function(spec)
    tf.saved_model.save(module, str(out), signatures={"serving_default": module.call})
    source = fix_shapes(read_source(out, None), {})
    return save_with_shapes(source, out.parent / "fixed")


def normal(*shape: int, seed: int = 0) -> Any:
    return (np.random.default_rng(seed).standard_normal(shape) / 8).astype(np.float32)


def both(model: Path, work: Path) -> tuple[Apart | None, bytes, int]:
    """The model without its weights, as a whole, and how many conversions the first took."""
    count, private = 0, Private()

    def convert(folder: Path) -> bytes:
        nonlocal count
        count += 1
        assert not list(folder.rglob("*.data-*")) or sum(f.stat().st_size for f in folder.rglob("*.data-*")) < 250_000
        return private.convert_float(folder, "serving_default", _CONFIGURE, fills=True)

    found = convert_apart(model, "serving_default", convert, work)
    return found, private.convert_float(model, "serving_default", _CONFIGURE), count


def results(content: bytes) -> list[list[str]]:
    """The names of what each operation computes."""
    model, _ = unpack(content)
    return [
        [tensor_name(graph.tensors[k]) for k in listed(op.outputs)]
        for graph in model.subgraphs
        for op in listed(graph.operators)
    ]


def embed(x: Any, table: Any, square: Any, back: Any, heads: Any) -> dict[str, Any]:
    """A table, which is also the weights of the last layer; square weights, with and without a transposition."""
    found = tf.nn.embedding_lookup(table, x)
    found = tf.nn.relu(tf.matmul(found, square))
    found = tf.nn.tanh(tf.matmul(found, back, transpose_b=True))
    several = tf.einsum("abc,cde->abde", found, heads)
    return {"words": tf.matmul(found, table, transpose_b=True), "heads": tf.nn.relu(several)}


def convolve(x: Any, kernel: Any, pointwise: Any, dense: Any) -> dict[str, Any]:
    found = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + 0.5)
    found = tf.nn.relu(tf.nn.conv2d(found, pointwise, 1, "VALID"))
    return {"y": tf.reshape(found, [-1, 2 * 2 * SIZE]) @ dense}


def loop(x: Any, first: Any, inside: Any) -> dict[str, Any]:
    """Weights that are read in the body of a loop are not left out."""
    found = x @ first
    for _ in tf.range(3):
        found = tf.tanh(found @ inside)
    return {"y": found}


_ROW = tf.TensorSpec([None, SIZE], tf.float32, "x")
_WHOLE: dict[str, tuple[Call, Any, dict[str, Any]]] = {
    "embed": (
        embed,
        tf.TensorSpec([None, 4], tf.int32, "x"),
        {
            "table": normal(250, SIZE),
            "square": normal(SIZE, SIZE, seed=1),
            "back": normal(SIZE, SIZE, seed=2),
            "heads": normal(SIZE, 4, SIZE // 4, seed=3),
        },
    ),
    "convolve": (
        convolve,
        tf.TensorSpec([None, 2, 2, 64], tf.float32, "x"),
        {
            "kernel": normal(3, 3, 64, SIZE),
            "pointwise": normal(1, 1, SIZE, SIZE),
            "dense": normal(4 * SIZE, SIZE),
        },
    ),
    "loop": (loop, _ROW, {"first": normal(SIZE, SIZE, seed=1), "inside": normal(SIZE, SIZE, seed=2)}),
}


@pytest.mark.parametrize("name", _WHOLE)
def test_weights_that_the_converter_only_stores_are_put_in_after_two_conversions(name: str, tmp_path: Path) -> None:
    call, spec, values = _WHOLE[name]
    found, whole, count = both(save(tmp_path / "model", call, spec, **values), tmp_path / "work")
    assert found is not None
    assert count == 2
    assert len(found.constants) == len([key for key in values if key != "inside"])
    content = found.with_constants(found.content)
    assert graphs_of(content) == graphs_of(whole)
    assert results(content) == results(whole)


def scaled(x: Any, first: Any, second: Any, third: Any) -> dict[str, Any]:
    """The converter multiplies the weights of two layers by what their results are multiplied by."""
    found = tf.nn.relu(x @ first) / 3.7
    found = tf.nn.relu((found @ second) * np.linspace(0.3, 1.7, SIZE, dtype=np.float32))
    return {"y": tf.nn.relu(found @ third)}


def test_weights_that_the_converter_changes_are_those_of_a_conversion_with_their_values(tmp_path: Path) -> None:
    values = {name: normal(SIZE, SIZE, seed=k) for k, name in enumerate(("first", "second", "third"))}
    model = save(tmp_path / "model", scaled, _ROW, **values)
    found, whole, count = both(model, tmp_path / "work")
    assert found is not None
    assert count == 2 + 1 + 1  # with two marks, with one for those that are stored, and with the values of one
    assert [isinstance(one.key, Path) for one in found.constants.values()].count(True) == 1
    content = found.with_constants(found.content)
    assert graphs_of(content) == graphs_of(whole)
    assert results(content) == results(whole)


def product(x: Any, first: Any, second: Any) -> dict[str, Any]:
    return {"y": tf.nn.relu(x @ (first @ second))}


def plain(x: Any, first: Any, second: Any) -> dict[str, Any]:
    return {"y": tf.nn.relu(tf.nn.relu(x @ first) @ second)}


def own(x: Any, first: Any, second: Any) -> dict[str, Any]:
    """A constant of one number is the model's own."""
    return {"y": tf.nn.relu(x @ first) @ second, "z": x[:, None] * np.full((1, SIZE, SIZE), 0.25, np.float32)}


@pytest.mark.parametrize(
    ("call", "first", "second"),
    [
        (product, normal(SIZE, SIZE), normal(SIZE, SIZE, seed=1)),
        (own, normal(SIZE, SIZE), normal(SIZE, SIZE, seed=1)),
        (plain, normal(SIZE, SIZE), normal(SIZE, SIZE)),
        (plain, np.ones((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.float32)),
    ],
    ids=["weights that are multiplied", "another constant of one number", "equal weights", "weights of one number"],
)
def test_a_model_in_which_values_matter_is_converted_as_a_whole(
    call: Call, first: Any, second: Any, tmp_path: Path
) -> None:
    model = save(tmp_path / "model", call, _ROW, first=first, second=second)
    found, whole, _ = both(model, tmp_path / "work")
    assert found is None
    assert whole


def _engines(model: Path, work: Path) -> Engines:
    source = fix_shapes(read_source(model, None), {})
    return Engines(save_with_shapes(source, work), source, Observed(None, None), False, lambda done, of: None)


@pytest.mark.parametrize("infinite", [False, True])
def test_a_large_model_becomes_the_same_file(infinite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Infinite weights are found when they are put in; the converter itself replaces them."""
    values = {"first": normal(SIZE, SIZE), "second": normal(SIZE, SIZE, seed=1)}
    values["second"][70, 3] = np.inf if infinite else 1.0
    save(tmp_path / "model", plain, _ROW, **values)
    found: list[Apart | None] = []

    def convert(*given: Any) -> Apart | None:
        found.append(convert_apart(*given))
        return found[-1]

    monkeypatch.setattr(engine, "convert_apart", convert)
    engines = _engines(tmp_path / "model", tmp_path / "a")
    content = engines.make(SCHEMES["float32"], None).content
    assert {path.name for path in tmp_path.iterdir()} == {"model", "fixed", "a"}  # nothing is left
    assert found[0] is not None
    monkeypatch.setattr(apart, "_LEAST", 1 << 40)
    whole = _engines(tmp_path / "model", tmp_path / "b").make(SCHEMES["float32"], None).content
    assert found[1:] == [None]
    assert graphs_of(content) == graphs_of(whole)
    weights = np.concatenate([np.ravel(one) for one in _constants(content)])
    assert np.isfinite(weights).all()
    assert weights.max() == (np.finfo(np.float32).max if infinite else max(v.max() for v in values.values()))


def _constants(content: bytes) -> list[Any]:
    model, _ = unpack(content)
    return [
        np.frombuffer(bytes(b.data), np.float32) for b in model.buffers if b.data is not None and len(b.data) > 9000
    ]


def test_constants_are_not_put_into_another_model(tmp_path: Path) -> None:
    values = {"first": normal(SIZE, SIZE), "second": normal(SIZE, SIZE, seed=1)}
    found, _, _ = both(save(tmp_path / "model", plain, _ROW, **values), tmp_path / "work")
    assert found is not None
    values["first"][3, 5] = np.nan
    save(tmp_path / "model", plain, _ROW, **values)
    with pytest.raises(DifferentError, match="not finite"):
        found.with_constants(found.content)
