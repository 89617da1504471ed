"""Models of several inputs and outputs, and with a loop, through `edgetf.tune` as a user calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgetf
from edgetf.conversion.splice import Splicer
from edgetf.recipes import Ending
from edgetf.results import Verdict, read_benchmark
from edgetf.tuning.candidates import Kept, Maker
from edgetf.tuning.ranking import rank
from edgetf.tuning.running import Fed, Scorer
from tests.conftest import ignore

pytestmark = pytest.mark.slow
ROWS = np.random.default_rng(0).normal(size=(400, 8, 8, 1)).astype(np.float32)
NUMBERS = np.random.default_rng(1).normal(size=(400, 4)).astype(np.float32)


def closeness(outputs: dict[str, Any], labels: Any) -> float:
    """A metric of the user's: minus the mean square of what the value is off from the labels."""
    return -float(np.mean((np.asarray(outputs["value"])[:, 0] - labels) ** 2))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path]:
    """A network of two inputs and two outputs, its variants, and its reference on samples with labels."""
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    layers, folder = keras.layers, tmp_path_factory.mktemp("two")
    image, number = keras.Input((8, 8, 1), name="image"), keras.Input((4,), name="number")
    x = layers.Flatten()(layers.Conv2D(8, 3, activation="relu", bias_initializer="random_normal")(image))
    x = layers.Dense(48, activation="relu")(layers.Concatenate()([x, layers.Dense(8)(number)]))
    outputs = {"kind": layers.Dense(3, activation="softmax", name="kind")(x), "value": layers.Dense(1, name="value")(x)}
    model = keras.Model({"image": image, "number": number}, outputs)
    samples, schemes = {"image": ROWS[:100], "number": NUMBERS[:100]}, ["float32", "float16", "dynamic", "int8"]
    edgetf.convert(model, folder / "out", samples=samples, schemes=schemes, on_event=ignore)
    test = {"image": ROWS[100:], "number": NUMBERS[100:]}
    found = model.predict(test, verbose=0)
    test |= {"labels_kind": np.argmax(found["kind"], axis=1), "labels": np.asarray(found["value"])[:, 0]}
    edgetf.reference(model, test, folder / "ref", on="cpu", on_event=ignore)
    return model, folder / "out", folder / "ref"


def test_every_output_of_a_model_of_several_keeps_its_budget(two: tuple[Any, Path, Path], tmp_path: Path) -> None:
    _, variants, reference = two
    tuned = edgetf.tune(variants, reference, tmp_path / "tuned", max_drop=6.0, on_event=ignore)
    assert tuned.document.ending in (Ending.TUNED, Ending.PLAIN)
    assert tuned.document.verdict is Verdict.PASS
    name = "tuned" if tuned.document.ending is Ending.TUNED else tuned.document.winner
    [result] = [one for one in read_benchmark(tmp_path / "tuned" / "bench").results if one.variant == name]
    assert result.parity is not None
    assert {output.name for output in result.parity.outputs} == {"kind", "value"}


def test_a_metric_of_the_users_judges_on_the_samples_that_are_named_for_the_proof(
    two: tuple[Any, Path, Path], tmp_path: Path
) -> None:
    model, variants, reference = two
    random = np.random.default_rng(7)
    inputs = {
        "image": random.normal(size=(150, 8, 8, 1)).astype(np.float32),
        "number": random.normal(size=(150, 4)).astype(np.float32),
    }
    values = np.asarray(model.predict(inputs, verbose=0)["value"])[:, 0]
    tuned = edgetf.tune(
        *(variants, reference, tmp_path / "tuned"),
        metric="tests.tuning.test_several:closeness",
        max_metric_drop=0.05,
        verdict=(inputs, values),
        on_event=ignore,
    )
    assert tuned.document.ending in (Ending.TUNED, Ending.PLAIN)
    assert (tuned.document.searched_on.n, tuned.document.proven_on.n) == (300, 150)
    assert tuned.document.limits.metrics == ("tests.tuning.test_several:closeness",)


def test_a_model_with_a_loop_is_mixed_around_the_loop(tmp_path: Path) -> None:
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    series = keras.Input((6, 8), name="series")
    x = layers.GRU(16)(layers.Conv1D(16, 3, padding="same", activation="relu")(series))
    model = keras.Model(series, layers.Dense(4, activation="softmax")(layers.Dense(64, activation="relu")(x)))
    samples = np.random.default_rng(0).normal(size=(300, 6, 8)).astype(np.float32)
    variants = edgetf.convert(
        model,
        tmp_path / "out",
        samples=samples[:100],
        schemes=["float32", "weights", "dynamic", "int8"],
        on_event=ignore,
    )
    labelled = (samples[100:], np.argmax(model.predict(samples[100:], verbose=0), axis=1))
    reference = edgetf.reference(model, labelled, tmp_path / "ref", on="cpu", on_event=ignore)
    tuned = edgetf.tune(variants, reference, tmp_path / "tuned", max_drop=8.0, on_event=ignore)
    assert tuned.document.ending in (Ending.TUNED, Ending.PLAIN)
    assert tuned.document.verdict is Verdict.PASS


def test_operations_that_share_weights_come_from_one_file_and_their_bytes_count_once(tmp_path: Path) -> None:
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    shared, given = keras.layers.Dense(64, activation="tanh", name="shared"), keras.Input((64,), name="given")
    one, other = shared(given), shared(keras.layers.ReLU()(given))
    x = shared(keras.layers.Concatenate()([one[:, :32], 30.0 * other[:, 32:]]))  # one use matters more than others
    model = keras.Model(given, keras.layers.Dense(3, activation="softmax", name="last")(x))
    rows = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
    schemes = ["float32", "float16", "weights"]
    edgetf.convert(model, tmp_path / "out", samples={"given": rows}, schemes=schemes, on_event=ignore)
    splicer = Splicer({name: (tmp_path / "out" / f"{name}.tflite").read_bytes() for name in schemes})
    [together] = splicer.sharing(1024)
    assert [splicer.operations[k].kind for k in sorted(together)] == ["FULLY_CONNECTED"] * 3
    assert 2 * 64 * 64 <= splicer.constant_bytes("float16", *together) < 3 * 64 * 64
    scorer = Scorer(splicer, Fed({"given": rows[:16]}), {})
    candidates = Maker(scorer, rank(scorer, schemes[1:]), schemes[1:], Kept()).make()
    sources = [{candidate.choice[k] for k in together} for candidate in candidates]
    assert {len(files) for files in sources} == {1}
    assert {"float16", "weights"} <= set().union(*sources)
