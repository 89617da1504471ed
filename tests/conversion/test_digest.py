"""Two exports of the same weights are the same model; other weights or another structure are another model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from edgetf.conversion import digest
from edgetf.conversion.messages import messages
from edgetf.conversion.savedmodel import read_source
from edgetf.files import sha256_tree

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


def _node(place: Any, name: str, op: str, *inputs: str, calls: str = "") -> None:
    node = place.add(name=name, op=op, input=inputs)
    if calls:
        node.attr["f"].func.name = calls


def _function(graph: Any, name: str) -> Any:
    function = graph.library.function.add()
    function.signature.name = name
    function.signature.input_arg.add(name="x")
    function.signature.output_arg.add(name="y")
    return function


def _saved(folder: Path, fill: Any) -> Path:
    """A SavedModel whose output is the node `y`; `fill` adds the nodes to its meta graph."""
    model = messages().SavedModel()
    meta = model.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    for name, specs in (("x", meta.signature_def["call"].inputs), ("y", meta.signature_def["call"].outputs)):
        specs[name].name, specs[name].dtype = f"{name}:0", 1
        specs[name].tensor_shape.dim.add(size=3)
    _node(meta.graph_def.node, "x", "Placeholder")
    fill(meta)
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


def _calling(depth: int, nodes: int) -> Any:
    """Functions of which each calls the next one twice, and the last one has `nodes`."""

    def fill(meta: Any) -> None:
        _node(meta.graph_def.node, "y", "PartitionedCall", "x", calls=f"f{depth}")
        last = _function(meta.graph_def, "f0")
        for k in range(nodes):
            _node(last.node_def, f"n{k}", "Neg", f"n{k - 1}:y:0" if k else "x")
        last.ret["y"] = f"n{nodes - 1}:y:0"
        for k in range(1, depth + 1):
            function = _function(meta.graph_def, f"f{k}")
            _node(function.node_def, "a", "PartitionedCall", "x", calls=f"f{k - 1}")
            _node(function.node_def, "b", "PartitionedCall", "a:output:0", calls=f"f{k - 1}")
            function.ret["y"] = "b:output:0"

    return fill


def test_functions_that_stand_for_more_nodes_than_a_model_has_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "_MOST", 1000)
    few, many = _saved(tmp_path / "few", _calling(3, 50)), _saved(tmp_path / "many", _calling(5, 50))
    assert read_source(few, None, pure=True).digest != sha256_tree(few)
    assert read_source(many, None, pure=True).digest == sha256_tree(many)


@pytest.mark.timeout(60)
def test_a_cycle_in_the_function_that_restores_variables_ends(tmp_path: Path) -> None:
    def fill(meta: Any) -> None:
        _node(meta.graph_def.node, "y", "Neg", "x")
        _node(meta.graph_def.node, "restore", "PartitionedCall", "x", calls="f")
        meta.saver_def.restore_op_name = "restore"
        body = _function(meta.graph_def, "f").node_def
        _node(body, "assign", "AssignVariableOp", "x", "same:output:0")
        _node(body, "same", "Identity", "same:output:0")

    saved_model = _saved(tmp_path / "cycle", fill)
    assert read_source(saved_model, None, pure=True).digest == sha256_tree(saved_model)
