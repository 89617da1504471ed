"""Side effects of an untrusted SavedModel are found before TensorFlow runs any of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.client import pywrap_tf_session

from edgetf import files
from edgetf.benchmarks.reference import make
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion import savedmodel, worker
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.effects import Effect, find_effects, link_model, refuse_effects, refuse_exchanged
from edgetf.conversion.graph_pure import PURE
from edgetf.errors import EdgetfError
from edgetf.models.hub import hub_layer
from edgetf.models.serving import export_for_serving
from edgetf.results import Source
from tests.conftest import Run, Small, ignore

X = tf.TensorSpec([None, 3], tf.float32, name="x")
TARGET = "/tmp/edgetf-test-must-not-be-written"


def _save(call: Callable[[Any], Any], out: Path, spec: Any = X, **parts: Any) -> Path:
    module = tf.Module()
    for name, part in parts.items():
        setattr(module, name, part)
    module.call = tf.function(lambda x: {"y": call(x)}).get_concrete_function(spec)
    tf.saved_model.save(module, str(out), signatures={"serving_default": module.call})
    return out


def _write(x: Any) -> Any:
    tf.io.write_file(TARGET, "x")
    return x


def _nested(x: Any) -> Any:
    def body(k: Any, value: Any) -> Any:
        tf.cond(k > 1, lambda: tf.io.write_file(TARGET, "x"), tf.no_op)
        return k + 1, value

    return tf.while_loop(lambda k, value: k < 3, body, (0, x))[1]


def _print(x: Any) -> Any:
    tf.print(x, output_stream=f"file://{TARGET}")
    return x


def _save_checkpoint(x: Any) -> Any:
    tf.raw_ops.SaveV2(prefix=TARGET, tensor_names=["a"], shape_and_slices=[""], tensors=[x])
    return x


def _read_checkpoint(x: Any) -> Any:
    return x + tf.raw_ops.RestoreV2(prefix=TARGET, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32])[0]


def _table_of_a_file(x: Any) -> Any:
    table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
    tf.raw_ops.InitializeTableFromTextFileV2(table_handle=table, filename="/etc/passwd", key_index=-2, value_index=-1)
    return x


def _lines_of_a_file(x: Any) -> Any:
    lines = tf.data.TextLineDataset("/etc/passwd")
    return x + tf.cast(lines.reduce(np.int64(0), lambda count, _: count + 1), tf.float32)


def _debugged(x: Any) -> Any:
    return tf.raw_ops.DebugIdentityV2(input=x, debug_urls=[f"file://{TARGET}"])


REACHES = {
    "WriteFile": _write,
    "ReadFile": lambda x: x + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32),
    "PrintV2": _print,
    "EagerPyFunc": lambda x: tf.py_function(lambda a: a, [x], tf.float32),
    "PyFunc": lambda x: tf.numpy_function(lambda a: a, [x], tf.float32),
    "SaveV2": _save_checkpoint,
    "RestoreV2": _read_checkpoint,
    "MatchingFiles": lambda x: x + tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32),
    "InitializeTableFromTextFileV2": _table_of_a_file,
    "TextLineDataset": _lines_of_a_file,
    "DebugIdentityV2": _debugged,
}


@pytest.fixture(scope="module")
def writes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(_write, tmp_path_factory.mktemp("writes") / "model")


@pytest.mark.parametrize("op", REACHES)
def test_an_operation_with_side_effects_is_refused_by_name(op: str, tmp_path: Path) -> None:
    model = _save(REACHES[op], tmp_path / "model")
    assert op in {effect.op for effect in find_effects(model)}
    with pytest.raises(EdgetfError, match="operations that do not only compute: ") as caught:
        refuse_effects(model)
    assert "--trust" in caught.value.hint
    refuse_effects(model, trust=True)


def test_branches_of_loops_are_searched_too(tmp_path: Path) -> None:
    [effect] = find_effects(_save(_nested, tmp_path / "model"))
    assert (effect.op, effect.does) == ("WriteFile", "writes a file")
    assert "while_cond_true" in effect.function


def test_every_way_of_running_a_model_refuses_it_before_it_is_run(
    writes: Path, small: Small, edgetf: Run, tmp_path: Path
) -> None:
    np.savez(tmp_path / "samples.npz", x=np.zeros((4, 3), np.float32))
    refused = "operations that do not only compute: WriteFile writes a file"
    with pytest.raises(EdgetfError, match=refused):
        convert(writes, tmp_path / "out", ConvertOptions(("float32",)), ignore)
    with pytest.raises(EdgetfError, match=refused):
        make_reference(writes, tmp_path / "samples.npz", tmp_path / "ref", ReferenceOptions(on=Place.CPU), ignore)
    with pytest.raises(EdgetfError, match=refused):
        hub_layer(writes, trainable=False)
    with pytest.raises(EdgetfError, match=refused):
        export_for_serving(str(writes), tmp_path / "served", None, False, ignore)
    assert not any((tmp_path / name).exists() for name in ("out", "ref", "served"))
    assert not Path(TARGET).exists()


def test_a_model_that_is_trusted_is_run(tmp_path: Path) -> None:
    written = tmp_path / "written"
    model = _save(lambda x: (tf.io.write_file(str(written), "x"), x)[1], tmp_path / "model")
    np.savez(tmp_path / "samples.npz", x=np.zeros((4, 3), np.float32))
    options = ReferenceOptions(on=Place.CPU, trust=True)
    assert make_reference(model, tmp_path / "samples.npz", tmp_path / "ref", options, ignore).samples.n == 4
    assert written.read_text() == "x"


# what must not be refused ---------------------------------------------------------------------------------------------


def _vocabulary(folder: Path) -> Path:
    (folder / "vocabulary.txt").write_text("a\nb\n")
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    first = tf.lookup.TextFileInitializer(str(folder / "vocabulary.txt"), tf.string, whole, tf.int64, number)
    table = tf.lookup.StaticVocabularyTable(first, 2)
    return _save(table.lookup, folder / "model", tf.TensorSpec([None], tf.string, name="x"), table=table)


def test_a_saver_variables_tables_assets_and_prints_are_allowed(small: Small, tmp_path: Path) -> None:
    assert find_effects(small.saved_model) == ()
    assert find_effects(_vocabulary(tmp_path)) == ()
    state = tf.Variable(np.ones(3, np.float32))
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)

    def call(x: Any) -> Any:
        tf.print("so many:", tf.shape(x))
        tf.debugging.assert_greater(tf.shape(x)[0], 0)
        state.assign_add(tf.reduce_sum(x, 0))
        parts = tf.map_fn(lambda row: row * table.lookup(tf.constant(1, tf.int64)), x)
        return tf.linalg.matmul(parts + tf.random.normal([3]), tf.eye(3)) + state

    assert find_effects(_save(call, tmp_path / "all", state=state, table=table)) == ()


def test_a_tensorflow_1_model_is_accepted(tmp_path: Path) -> None:
    """Its saver is a part of the graph, and left-over savers too; only what signatures need is run."""
    v1 = tf.compat.v1
    (tmp_path / "vocabulary.txt").write_text("a\nb\n")
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = tf.constant(str(tmp_path / "vocabulary.txt"))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, path)
        whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        first = tf.lookup.TextFileInitializer(path, tf.string, whole, tf.int64, number)
        found = tf.lookup.StaticVocabularyTable(first, 1).lookup(tf.constant("a"))
        w = v1.get_variable("w", [3, 2], initializer=v1.ones_initializer())  # random ones need a seed after other tests
        y = tf.matmul(x, w) + tf.cast(found, tf.float32)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        v1.train.Saver(name="left_over", sharded=True)
        builder = v1.saved_model.Builder(str(tmp_path / "model"))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, assets, main_op=v1.tables_initializer()
        )
        builder.save()
    assert find_effects(tmp_path / "model") == ()


def test_the_list_names_operations_of_tensorflow_and_none_that_names_files() -> None:
    known = op_def_pb2.OpList()
    known.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    kinds = {op.name: op for op in known.op}
    assert set(kinds) >= PURE
    inputs = {op: [arg.name for arg in kinds[op].input_arg] + [attr.name for attr in kinds[op].attr] for op in PURE}
    paths = {op: [n for n in names if "file" in n or "path" in n or "url" in n] for op, names in inputs.items()}
    assert {op for op, found in paths.items() if found} <= {
        "ShardedFilename",
        "ShardedFilespec",
        "CTCBeamSearchDecoder",
    }
    assert not {
        op for op in PURE if any(word in op for word in ("PyFunc", "Dataset", "Reader", "Rpc", "Debug", "Send"))
    }


# attacks of a hostile file --------------------------------------------------------------------------------------------


def _changed(model: Path, out: Path, change: Callable[[Any], None]) -> tuple[Effect, ...]:
    shutil.copytree(model, out)
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((out / "saved_model.pb").read_bytes())
    change(proto)
    (out / "saved_model.pb").write_bytes(proto.SerializeToString())
    return find_effects(out)


def _call_saver(proto: Any) -> None:
    """The signature calls the function that saves."""
    meta = proto.meta_graphs[0]
    save = next(f for f in meta.graph_def.library.function if "traced_save" in f.signature.name)
    wrapper = next(f for f in meta.graph_def.library.function if "signature_wrapper" in f.signature.name)
    wrapper.node_def.add(name="more", op="StatefulPartitionedCall").attr["f"].func.name = save.signature.name


def _name_saver(proto: Any) -> None:
    meta = proto.meta_graphs[0]
    save = next(f for f in meta.graph_def.library.function if "traced_save" in f.signature.name)
    meta.object_graph_def.concrete_functions[save.signature.name].canonicalized_input_signature.SetInParent()


def _hide_in_dead_node(proto: Any) -> None:
    proto.meta_graphs[0].graph_def.node.add(name="dead", op="WriteFile")


def _hide_in_second_graph(proto: Any) -> None:
    proto.meta_graphs.add().graph_def.node.add(name="other", op="WriteFile")


def _name_twice(proto: Any) -> None:
    library = proto.meta_graphs[0].graph_def.library
    library.function.add().CopyFrom(library.function[0])


def _call_as_operation(proto: Any) -> None:
    """A function that is called by its name, as if it were an operation."""
    library = proto.meta_graphs[0].graph_def.library
    evil = library.function.add()
    evil.signature.name = "Relu"
    evil.node_def.add(name="write", op="WriteFile")
    library.function[0].node_def.add(name="call", op="Relu")


def _unknown(proto: Any) -> None:
    proto.meta_graphs[0].graph_def.node.add(name="custom", op="My\x1b[2JOp")


ATTACKS = {
    "the signature calls the saver": (_call_saver, "SaveV2"),
    "the saver is a function of the object": (_name_saver, "SaveV2"),
    "a node that nothing needs": (_hide_in_dead_node, "WriteFile"),
    "a second graph": (_hide_in_second_graph, "WriteFile"),
    "a function that is there twice": (_name_twice, "a name"),
    "a function with the name of an operation": (_call_as_operation, "WriteFile"),
    "an operation that nobody knows": (_unknown, "My\x1b[2JOp"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_operations_hidden_in_the_file_are_found(attack: str, small: Small, tmp_path: Path) -> None:
    change, op = ATTACKS[attack]
    assert op in {effect.op for effect in _changed(small.saved_model, tmp_path / "model", change)}


def test_a_path_that_is_not_an_asset_is_always_refused(tmp_path: Path) -> None:
    model = _vocabulary(tmp_path)

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

    assert {e.op for e in _changed(model, tmp_path / "1", elsewhere)} == {"asset"}
    for k, change in enumerate((constant, set_again)):
        assert {e.op for e in _changed(model, tmp_path / f"c{k}", change)} == {"InitializeTableFromTextFileV2"}


def test_a_second_file_that_tensorflow_prefers_is_refused(small: Small, tmp_path: Path) -> None:
    shutil.copytree(small.saved_model, tmp_path / "model")
    (tmp_path / "model" / "saved_model.cpb").write_bytes(b"x")
    with pytest.raises(EdgetfError, match=r"saved_model\.cpb is another model beside saved_model\.pb"):
        refuse_effects(tmp_path / "model")


def test_inspect_shows_side_effects_and_runs_nothing(writes: Path, edgetf: Run) -> None:
    ended = edgetf("inspect", writes)
    assert ended.returncode == 0, ended.stderr
    assert "needs --trust: WriteFile writes a file (in " in ended.stdout
    assert not Path(TARGET).exists()


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

    assert _changed(model, tmp_path / "model", name_another) == ()
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
    assert _changed(_tables_of_tensorflow_1(tmp_path / "usual", needs=False), tmp_path / "model", _list_assets) == ()
    model = tmp_path / "model"
    assert {effect.op for effect in _changed(model, tmp_path / "changed", change)} == {op}


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
    model = _vocabulary(tmp_path)
    (model / "assets" / "vocabulary.txt").unlink()
    (model / "assets" / "vocabulary.txt").symlink_to("/etc/passwd")
    assert [effect.op for effect in find_effects(model)] == ["assets/vocabulary.txt"]


def test_a_copy_for_serving_contains_no_foreign_files(tmp_path: Path) -> None:
    model = _vocabulary(tmp_path)
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


# exchanged after the check --------------------------------------------------------------------------------------------


@pytest.fixture
def exchange(small: Small, tmp_path: Path) -> Callable[..., Any]:
    """A model, `read_source` of which exchanges its graph for one that writes a file."""
    shutil.copytree(small.saved_model, tmp_path / "model")
    _save(_write, tmp_path / "hostile")

    def read(saved_model: Path, signature: str | None) -> Source:
        found = savedmodel.read_source(saved_model, signature)
        shutil.copy(tmp_path / "hostile" / "saved_model.pb", saved_model)
        return found

    return read


def test_a_model_that_is_exchanged_after_it_was_checked_is_not_loaded_by_reference(
    exchange: Callable[..., Any], small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "read_source", exchange)
    monkeypatch.setattr(make, "find_backend", lambda *given: pytest.fail("it would be loaded"))
    with pytest.raises(EdgetfError, match="model changed while edgetf read it"):
        make_reference(tmp_path / "model", small.samples, tmp_path / "ref", ReferenceOptions(on=Place.CPU), ignore)


def test_a_model_that_is_exchanged_after_it_was_checked_is_not_converted(
    exchange: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "read_source", exchange)
    monkeypatch.setattr(worker, "save_with_shapes", lambda *given: pytest.fail("it would be loaded"))
    plain: dict[str, Any] = {
        "schemes": ["float32"],
        "signature": None,
        "shapes": {},
        "samples": None,
        "like": None,
        "calibration": 1,
    }
    plain |= {"choice": files.to_plain(ConvertOptions().choice), "ranges": None, "select_tf_ops": False}
    plain |= {"trust": False, "runtime": None, "allow_nan": False, "keep_float": [], "crashed": []}
    request = files.from_plain({"model": str(tmp_path / "model"), "out": str(tmp_path), **plain}, worker.Request)
    with pytest.raises(EdgetfError, match="model changed while edgetf read it"):
        worker._convert_all(request, tmp_path / "work", mock.Mock())


def test_a_copy_of_a_graph_with_links_to_the_rest_is_the_same_model(small: Small, tmp_path: Path) -> None:
    private = link_model(small.saved_model, tmp_path / "private")
    assert not (private / "saved_model.pb").is_symlink()
    assert (private / "variables").is_symlink()
    assert savedmodel.read_source(private, None).digest == savedmodel.read_source(small.saved_model, None).digest
    refuse_exchanged(private, small.saved_model)
