"""Two exports of the same weights are the same model; other weights or another structure are another model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from edgetf.conversion import digest
from edgetf.conversion.savedmodel import read_source

# a: exported; b: again; c: with a layer renamed; d: one weight changed; e: another activation; f: for inference
_CODE = """
import sys
from pathlib import Path
if sys.argv[1] == "2":
    import tf_keras as keras
else:
    import keras
from edgetf.conversion.keras_export import export_model
keras.utils.set_random_seed(0)
layers = keras.layers
def build(name="conv", activation="relu"):
    image = keras.Input((8, 8, 1), name="image")
    h = layers.BatchNormalization()(layers.Conv2D(2, 3, activation=activation, name=name)(image))
    h = layers.LSTM(3)(layers.Reshape((6, 12))(layers.Dropout(0.5)(h)))
    return keras.Model(image, layers.Dense(3)(h))
if not Path("weights.weights.h5").exists():
    build().save_weights("weights.weights.h5")
def export(place, changed=0.0, **options):
    model = build(**options)
    model.load_weights("weights.weights.h5")
    weights = model.get_weights()
    weights[0].flat[0] += changed
    model.set_weights(weights)
    model.export(place)
    return model
prefix = sys.argv[2]
export(prefix + "a"); export(prefix + "b"); export(prefix + "c", name="renamed")
export(prefix + "d", changed=1e-3); export(prefix + "e", activation="tanh")
export_model(export(prefix + "unused"), Path(prefix + "f"))
"""


@pytest.fixture(scope="module", params=["2", "3"])
def digests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp(f"keras{request.param}")
    env = {**os.environ, "TF_USE_LEGACY_KERAS": "1" if request.param == "2" else "0", "CUDA_VISIBLE_DEVICES": "-1"}
    for process in ("x", "y"):
        command = [sys.executable, "-c", _CODE, request.param, process]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, env=env)
    return {place.name: read_source(place, None).digest for place in folder.iterdir() if place.is_dir()}


def test_exports_of_the_same_weights_have_the_same_digest(digests: dict[str, str]) -> None:
    assert len({digests[process + export] for process in "xy" for export in "abcf"}) == 1


def test_other_weights_and_another_structure_have_another(digests: dict[str, str]) -> None:
    assert len({digests["xa"], digests["xd"], digests["xe"]}) == 3
    assert digests["xd"] == digests["yd"]


class _Words(tf.Module):  # type: ignore[misc]
    """A table, whose content is not in the checkpoint."""

    def __init__(self, values: list[int], wire: bool = True) -> None:
        super().__init__()
        keys = tf.constant(["a", "b"])
        tables = [
            tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, tf.constant(v, tf.int64)), -1)
            for v in (values, [5, 6])
        ]
        self.tables = tables if wire else tables[::-1]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])  # type: ignore[untyped-decorator]
    def serve(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"found": self.tables[0].lookup(text) - 2 * self.tables[1].lookup(text)}


def test_the_digest_depends_on_the_content_of_tables_and_how_they_are_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "sha256_tree", lambda folder: pytest.fail("the graph was not understood"))
    made = {"a": _Words([1, 2]), "b": _Words([1, 2]), "c": _Words([1, 3]), "d": _Words([1, 2], wire=False)}
    found = {}
    for name, module in made.items():
        tf.saved_model.save(module, str(tmp_path / name), signatures=module.serve)
        found[name] = read_source(tmp_path / name, None).digest
    assert found["a"] == found["b"]
    assert len({found["a"], found["c"], found["d"]}) == 3
