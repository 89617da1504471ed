"""Side effects of an untrusted SavedModel are found before TensorFlow runs any of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session

from edgetf import files
from edgetf.benchmarks.reference import make
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion import savedmodel, worker
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.effects import find_effects, link_model, refuse_effects, refuse_exchanged
from edgetf.conversion.graph_pure import PURE
from edgetf.conversion.request import Request
from edgetf.errors import EdgetfError
from edgetf.models.hub import hub_layer
from edgetf.models.serving import export_for_serving
from edgetf.results import Source
from tests.conftest import Run, Small, ignore
from tests.conversion.saved_models import changed, save, vocabulary

TARGET = "/tmp/edgetf-test-must-not-be-written"


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
    return save(_write, tmp_path_factory.mktemp("writes") / "model")


@pytest.mark.parametrize("op", REACHES)
def test_an_operation_with_side_effects_is_refused_by_name(op: str, tmp_path: Path) -> None:
    model = save(REACHES[op], tmp_path / "model")
    assert op in {effect.op for effect in find_effects(model)}
    with pytest.raises(EdgetfError, match="operations that do not only compute: ") as caught:
        refuse_effects(model)
    assert "--trust" in caught.value.hint
    refuse_effects(model, trust=True)


def test_branches_of_loops_are_searched_too(tmp_path: Path) -> None:
    [effect] = find_effects(save(_nested, tmp_path / "model"))
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
    model = save(lambda x: (tf.io.write_file(str(written), "x"), x)[1], tmp_path / "model")
    np.savez(tmp_path / "samples.npz", x=np.zeros((4, 3), np.float32))
    options = ReferenceOptions(on=Place.CPU, trust=True)
    assert make_reference(model, tmp_path / "samples.npz", tmp_path / "ref", options, ignore).samples.n == 4
    assert written.read_text() == "x"


# what must not be refused ---------------------------------------------------------------------------------------------


def test_a_saver_variables_tables_assets_and_prints_are_allowed(small: Small, tmp_path: Path) -> None:
    assert find_effects(small.saved_model) == ()
    assert find_effects(vocabulary(tmp_path)) == ()
    state = tf.Variable(np.ones(3, np.float32))
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)

    def call(x: Any) -> Any:
        tf.print("so many:", tf.shape(x))
        tf.debugging.assert_greater(tf.shape(x)[0], 0)
        state.assign_add(tf.reduce_sum(x, 0))
        parts = tf.map_fn(lambda row: row * table.lookup(tf.constant(1, tf.int64)), x)
        return tf.linalg.matmul(parts + tf.random.normal([3]), tf.eye(3)) + state

    assert find_effects(save(call, tmp_path / "all", state=state, table=table)) == ()


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
    assert op in {effect.op for effect in changed(small.saved_model, tmp_path / "model", change)}


def test_inspect_shows_side_effects_and_runs_nothing(writes: Path, edgetf: Run) -> None:
    ended = edgetf("inspect", writes)
    assert ended.returncode == 0, ended.stderr
    assert "needs --trust: WriteFile writes a file (in " in ended.stdout
    assert not Path(TARGET).exists()


# exchanged after the check --------------------------------------------------------------------------------------------


@pytest.fixture
def exchange(small: Small, tmp_path: Path) -> Callable[..., Any]:
    """A model, `read_source` of which exchanges its graph for one that writes a file."""
    shutil.copytree(small.saved_model, tmp_path / "model")
    save(_write, tmp_path / "hostile")

    def read(saved_model: Path, signature: str | None) -> Source:
        found = savedmodel.read_source(saved_model, signature)
        shutil.copy(tmp_path / "hostile" / "saved_model.pb", saved_model)
        return found

    return read


def test_a_model_that_is_exchanged_after_it_was_checked_is_not_loaded_by_reference(
    exchange: Callable[..., Any], small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "read_source", exchange)
    options, refused = ReferenceOptions(on=Place.CPU), lambda *given: pytest.fail("it would be loaded")
    with pytest.raises(EdgetfError, match="model changed while edgetf read it"):
        make_reference(tmp_path / "model", small.samples, tmp_path / "ref", options, ignore, compute=refused)


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
    plain |= {"trust": False, "runtime": None, "allow_nan": False, "keep_float": [], "pixels": {}, "crashed": []}
    request = files.from_plain({"model": str(tmp_path / "model"), "out": str(tmp_path), **plain}, Request)
    with pytest.raises(EdgetfError, match="model changed while edgetf read it"):
        worker._convert_all(request, tmp_path / "work", mock.Mock())


def test_a_copy_of_a_graph_with_links_to_the_rest_is_the_same_model(small: Small, tmp_path: Path) -> None:
    private = link_model(small.saved_model, tmp_path / "private")
    assert not (private / "saved_model.pb").is_symlink()
    assert (private / "variables").is_symlink()
    assert savedmodel.read_source(private, None).digest == savedmodel.read_source(small.saved_model, None).digest
    refuse_exchanged(private, small.saved_model)
