"""Files that a SavedModel reads: its own assets are allowed, links and paths that lead elsewhere are not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from edgetf.conversion.effects import Effect, find_effects, refuse_effects
from edgetf.errors import EdgetfError
from edgetf.models.serving import export_for_serving
from tests.conftest import Small, ignore
from tests.conversion.saved_models import changed, vocabulary


def test_a_path_that_is_not_an_asset_is_always_refused(tmp_path: Path) -> None:
    model = vocabulary(tmp_path)

    def elsewhere(proto: Any) -> None:
        proto.meta_graphs[0].asset_file_def[0].filename = "../../../etc/passwd"

    def constant(proto: Any) -> None:
        objects = proto.meta_graphs[0].object_graph_def
        for node in objects.nodes:
            if node.WhichOneof("kind") == "asset":
                node.constant.operation = "Const"

    def set_again(proto: Any) -> None:
        nodes = proto.meta_graphs[0].graph_def.node
        variable = next(node.name for node in nodes if node.op == "VarHandleOp")
        nodes.add(name="again", op="AssignVariableOp", input=[variable, "Const"])

    assert {e.op for e in changed(model, tmp_path / "1", elsewhere)} == {"asset"}
    for k, change in enumerate((constant, set_again)):
        assert {e.op for e in changed(model, tmp_path / f"c{k}", change)} == {"InitializeTableFromTextFileV2"}


def test_a_second_file_that_tensorflow_prefers_is_refused(small: Small, tmp_path: Path) -> None:
    shutil.copytree(small.saved_model, tmp_path / "model")
    (tmp_path / "model" / "saved_model.cpb").write_bytes(b"x")
    with pytest.raises(EdgetfError, match=r"saved_model\.cpb is another model beside saved_model\.pb"):
        refuse_effects(tmp_path / "model")


def _tables_of_tensorflow_1(folder: Path, needs: bool) -> Path:
    """A model with two tables of files, which its init op fills; its signature `needs` the operation that fills one."""
    v1 = tf.compat.v1
    folder.mkdir()
    with tf.Graph().as_default(), v1.Session() as session:
        x, found = v1.placeholder(tf.string, [None], "x"), []
        for name in ("words", "more"):
            (folder / f"{name}.txt").write_text("a\nb\n")
            path = tf.constant(str(folder / f"{name}.txt"), name=name)
            v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, path)
            whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
            first = tf.lookup.TextFileInitializer(path, tf.string, whole, tf.int64, number)
            found.append(tf.lookup.StaticHashTable(first, -1).lookup(x))
        fills = [node for node in session.graph.get_operations() if node.type == "InitializeTableFromTextFileV2"]
        assert len(fills) == 2
        with tf.control_dependencies(fills[:1] if needs else []):
            y = tf.identity(found[0] + found[1], "y")
        builder = v1.saved_model.Builder(str(folder / "model"))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        signatures = {"serving_default": signature}
        builder.add_meta_graph_and_variables(session, ["serve"], signatures, assets, main_op=v1.tables_initializer())
        builder.save()
    return folder / "model"


def test_the_path_of_an_asset_is_replaced_in_the_initialization_alone(tmp_path: Path) -> None:
    """Operations that a signature needs run with the path in the file, which may be any path."""
    assert find_effects(_tables_of_tensorflow_1(tmp_path / "usual", needs=False)) == ()
    [effect] = find_effects(_tables_of_tensorflow_1(tmp_path / "hostile", needs=True))
    assert effect == Effect("InitializeTableFromTextFileV2", "reads a file that is not an asset of the model", "")


def test_a_harmless_table_reads_the_asset_whatever_path_the_file_names(tmp_path: Path) -> None:
    model = _tables_of_tensorflow_1(tmp_path / "usual", needs=False)
    (tmp_path / "secret.txt").write_text("secret\n")

    def name_another(proto: Any) -> None:
        words = next(node for node in proto.meta_graphs[0].graph_def.node if node.name == "words")
        words.attr["value"].tensor.string_val[0] = str(tmp_path / "secret.txt").encode()

    assert changed(model, tmp_path / "model", name_another) == ()
    serve = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    assert serve(x=tf.constant(["a", "b", "secret"]))["y"].numpy().tolist() == [0 + 0, 1 + 1, -1 - 1]


def _list_assets(proto: Any) -> None:
    """Assets and the init op are in the fields of TensorFlow 2."""
    meta = proto.meta_graphs[0]
    for packed in meta.collection_def["saved_model_assets"].any_list.value:
        packed.Unpack(meta.asset_file_def.add())
    [init] = meta.collection_def["saved_model_main_op"].node_list.value
    meta.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = init
    meta.collection_def.clear()


def _asset_is_an_input(proto: Any) -> None:
    meta = proto.meta_graphs[0]
    meta.signature_def["serving_default"].inputs["path"].CopyFrom(meta.asset_file_def[0].tensor_info)


def _restoring_fills_it(proto: Any) -> None:
    meta = proto.meta_graphs[0]
    fill = next(node.name for node in meta.graph_def.node if node.op == "InitializeTableFromTextFileV2")
    meta.graph_def.node.add(name="restores", op="NoOp", input=[f"^{fill}"])
    meta.saver_def.restore_op_name = "restores"


def _initialization_takes_inputs(proto: Any) -> None:
    """TensorFlow then makes a signature from it, too."""
    signatures = proto.meta_graphs[0].signature_def
    signatures["__saved_model_init_op"].inputs["x"].CopyFrom(signatures["serving_default"].inputs["x"])


def _another_output(proto: Any) -> None:
    """The asset is the second output of an operation, the table reads the first."""
    meta = proto.meta_graphs[0]
    named = meta.asset_file_def[0].tensor_info.name.split(":")[0]
    asset = next(node for node in meta.graph_def.node if node.name == named)
    meta.graph_def.node.add(name="both").CopyFrom(asset)
    meta.graph_def.node[-1].name = "both"
    asset.Clear()
    asset.name, asset.op = named, "IdentityN"
    asset.input.extend(["both", "both"])
    meta.asset_file_def[0].tensor_info.name = f"{named}:1"


def _second_file(proto: Any) -> None:
    files = proto.meta_graphs[0].asset_file_def
    files.insert(0, type(files[0])(tensor_info=files[0].tensor_info, filename="/etc/passwd"))


ASSETS = {
    "a signature takes it as an input": (_asset_is_an_input, "InitializeTableFromTextFileV2"),
    "restoring needs it": (_restoring_fills_it, "InitializeTableFromTextFileV2"),
    "the initialization is a signature": (_initialization_takes_inputs, "InitializeTableFromTextFileV2"),
    "it is another output": (_another_output, "InitializeTableFromTextFileV2"),
    "it names two files": (_second_file, "asset"),
}


@pytest.mark.parametrize("attack", ASSETS)
def test_a_listed_asset_whose_path_is_not_replaced_is_refused(attack: str, tmp_path: Path) -> None:
    change, op = ASSETS[attack]
    assert changed(_tables_of_tensorflow_1(tmp_path / "usual", needs=False), tmp_path / "model", _list_assets) == ()
    model = tmp_path / "model"
    assert {effect.op for effect in changed(model, tmp_path / "changed", change)} == {op}


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "fingerprint.pb", "variables", "variables/variables.index", "assets"]
)
def test_a_link_that_leads_out_of_the_model_is_refused(name: str, small: Small, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(small.saved_model, model)
    shutil.move(model / name, tmp_path / "outside")
    (model / name).symlink_to("../" * (1 + name.count("/")) + "outside")
    assert find_effects(model) == (Effect(name, "is a link that leads out of the model", ""),)
    with pytest.raises(EdgetfError, match=f"{name} is a link that leads out of the model"):
        refuse_effects(model)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("name", ["fingerprint.pb", "variables/variables.index", "assets/vocabulary.txt"])
def test_a_pipe_in_a_model_is_refused(name: str, trust: bool, small: Small, tmp_path: Path) -> None:
    shutil.copytree(small.saved_model, model := tmp_path / "model")
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    with pytest.raises(EdgetfError, match=f"{name} is not a plain file"):
        refuse_effects(model, trust)


def test_an_asset_that_is_a_link_to_any_file_is_refused(tmp_path: Path) -> None:
    model = vocabulary(tmp_path)
    (model / "assets" / "vocabulary.txt").unlink()
    (model / "assets" / "vocabulary.txt").symlink_to("/etc/passwd")
    assert [effect.op for effect in find_effects(model)] == ["assets/vocabulary.txt"]


def test_a_copy_for_serving_contains_no_foreign_files(tmp_path: Path) -> None:
    model = vocabulary(tmp_path)
    (model / "assets" / "vocabulary.txt").unlink()
    (model / "assets" / "vocabulary.txt").symlink_to("/etc/passwd")
    with pytest.raises(EdgetfError, match=r"assets/vocabulary\.txt is a link that leads out of the model"):
        export_for_serving(str(model), tmp_path / "served", None, False, ignore)
    assert not (tmp_path / "served").exists()


def test_links_inside_a_model_and_to_it_are_allowed(small: Small, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(small.saved_model, model)
    (model / "variables").rename(model / "weights")
    (model / "variables").symlink_to("weights")
    (tmp_path / "link").symlink_to("model")
    (model / "notes").symlink_to("/etc")  # TensorFlow does not read it
    assert find_effects(tmp_path / "link") == ()
    (model / "weights" / "more").symlink_to("..")
    assert [effect.op for effect in find_effects(model)] == ["notes"]  # TensorFlow now may read it
    (model / "notes").unlink()
    assert find_effects(model) == ()
    (model / "weights" / "variables.index").unlink()
    (model / "weights" / "variables.index").symlink_to("/etc/passwd")
    assert [effect.op for effect in find_effects(model)] == ["weights/variables.index"]


@pytest.mark.parametrize("is_asset", [True, False])
def test_many_functions_that_call_each_other_twice_are_read_quickly(is_asset: bool, tmp_path: Path) -> None:
    proto = saved_model_pb2.SavedModel()
    meta = proto.meta_graphs.add()
    count = 2000
    for k in range(count):
        function = meta.graph_def.library.function.add()
        function.signature.name = f"f{k}"
        function.signature.input_arg.add(name="path")
        if k == count - 1:
            function.node_def.add(name="t", op="InitializeTableFromTextFileV2", input=["table", "path"])
        else:
            for name in ("first", "second"):
                function.node_def.add(name=name, op=f"f{k + 1}", input=["path"])
    meta.graph_def.node.add(name="asset", op="Const")
    meta.graph_def.node.add(name="call", op="f0", input=["asset"])
    meta.asset_file_def.add(filename="words.txt").tensor_info.name = "asset:0" if is_asset else "another:0"
    (tmp_path / "saved_model.pb").write_bytes(proto.SerializeToString())
    begun = perf_counter()
    found = find_effects(tmp_path)
    assert perf_counter() - begun < 1
    assert [effect.function for effect in found] == ([] if is_asset else [f"f{count - 1}"])
