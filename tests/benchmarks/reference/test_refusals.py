from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from edgetf.benchmarks.reference import backend
from edgetf.benchmarks.reference.backend import Backend, LocalBackend, ServingBackend
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.benchmarks.reference.refusals import RefusedError, guarded, locating, raise_located
from edgetf.benchmarks.reference.serving import Served
from edgetf.benchmarks.rows import Outputs
from edgetf.conversion.calibrate import calibrate
from edgetf.conversion.ranges import RangeChoice
from edgetf.device.runner.answers import in_one_line
from edgetf.device.runner.interpreter import JobError, naming_sample
from edgetf.errors import EdgetfError
from edgetf.results import Calibration, ReferenceDevice
from edgetf.samples import Array, Samples, make_samples
from tests.conftest import ignore

_BAD = 150  # the sample with an index out of range


class Lookup(tf.Module):  # type: ignore[misc]
    """A table of 5 rows, looked up by a gather, or after an assertion."""

    def __init__(self) -> None:
        super().__init__()
        self.table = tf.Variable(tf.constant(np.linspace(-1, 1, 15).reshape(5, 3).astype(np.float32)))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.int32, name="x")])  # type: ignore[untyped-decorator]
    def gather(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.reduce_sum(tf.gather(self.table, x), axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.int32, name="x")])  # type: ignore[untyped-decorator]
    def asserts(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(x < 5), ["too\nlarge", x])]):
            return {"y": tf.reduce_sum(tf.gather(self.table, tf.minimum(x, 4)), axis=1)}


@tf.function(input_signature=[tf.TensorSpec([None, 4], tf.int32, name="x")])  # type: ignore[untyped-decorator]
def python(x: tf.Tensor) -> dict[str, tf.Tensor]:
    """A function outside of the model, which would be refused with it."""
    y = tf.py_function(_refuse_large, [x], tf.float32)
    y.set_shape([None, 4])
    return {"y": y}


def _refuse_large(x: tf.Tensor) -> Array:
    if (x.numpy() > 4).any():
        raise ValueError("it is\ntoo large")
    values: Array = x.numpy().astype(np.float32)
    return values


@pytest.fixture(scope="module")
def lookup() -> Lookup:
    return Lookup()


@pytest.fixture(scope="module")
def samples() -> Samples:
    x = np.random.default_rng(0).integers(0, 5, (200, 4)).astype(np.int32)
    x[_BAD, 2] = 77
    return make_samples("x.npz", {"x": x}, None)


@pytest.mark.parametrize(
    ("name", "operation", "reason"),
    [
        ("gather", "Gather", r"indices\[0,2\] = 77 is not in \[0, 5\)"),
        ("asserts", "Assert", "assertion failed"),
        ("python", "EagerPyFunc", "ValueError: it is"),
    ],
)
def test_an_error_of_a_model_is_one_line_with_the_sample_and_the_operation(
    lookup: Lookup, samples: Samples, name: str, operation: str, reason: str
) -> None:
    function = getattr(lookup, name, python)

    def call(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {key: value.numpy() for key, value in function(tf.constant(inputs["x"])).items()}

    ask = guarded(call)
    with pytest.raises(RefusedError) as refused:
        ask(samples.feed(128, 192))
    with pytest.raises(EdgetfError, match=rf"sample {_BAD}, in the operation \S*{operation}\S*: {reason}") as caught:
        raise_located(refused.value, ask, samples, 128, 192)
    assert caught.value.message.isprintable()


def test_a_batch_that_fails_although_each_sample_works_is_named(samples: Samples) -> None:
    def call(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        if len(inputs["x"]) > 1:
            raise TypeError("one at a time")
        return inputs

    ask = guarded(call)
    with pytest.raises(EdgetfError, match="samples 0 to 63 together: one at a time"):
        raise_located(RefusedError(TypeError("one at a time")), ask, samples, 0, 64)


def test_edgetf_errors_and_ctrl_c_are_passed_on() -> None:
    for error in (EdgetfError("the server is gone"), KeyboardInterrupt()):

        def call(inputs: Mapping[str, Array], error: BaseException = error) -> Mapping[str, Array]:
            raise error

        with pytest.raises(type(error)):
            guarded(call)({})


@pytest.mark.parametrize("bad", [1, _BAD])
def test_a_reference_names_the_sample_that_the_model_refuses(tmp_path: Path, lookup: Lookup, bad: int) -> None:
    tf.saved_model.save(lookup, str(tmp_path / "model"), signatures=lookup.gather)
    x = np.random.default_rng(0).integers(0, 5, (200, 4)).astype(np.int32)
    x[bad, 2] = 77
    np.savez(tmp_path / "x.npz", x=x)
    with pytest.raises(EdgetfError, match=rf"sample {bad}, in the operation \S*Gather\S*: indices\[0,2\] = 77"):
        make_reference(tmp_path / "model", tmp_path / "x.npz", tmp_path / "ref", ReferenceOptions(on=Place.CPU), ignore)
    assert not (tmp_path / "ref" / "reference.json").exists()


class BrokenError(Exception):
    """What a library raises."""


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_that_first_fails_while_it_is_timed_names_the_sample(samples: Samples, fails: bool) -> None:
    """It may fail again on the sample alone, or only now and then."""

    def call(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        if fails:
            raise BrokenError("indices[0] = 7 is not in [0, 5)")
        return inputs

    which = "sample 3: indices" if fails else "sample 3, not each time: indices"
    with pytest.raises(EdgetfError, match=which), locating(guarded(call), samples, 3, 4, (BrokenError,)):
        raise BrokenError("indices[0] = 7 is not in [0, 5)")
    with pytest.raises(KeyError), locating(guarded(call), samples, 3, 4, (BrokenError,)):
        raise KeyError("a bug of edgetf's")


def _failing(*given: object) -> None:
    raise tf.errors.InvalidArgumentError(None, None, "index 9\n\t [[{{node Gather}}]]")


def _local(function: object) -> Backend:
    return LocalBackend(tf, function, ReferenceDevice("cpu", "", ""), "float32")


def _served(function: object) -> Backend:
    served = Served("model x", lambda inputs: {"y": np.zeros((len(inputs["x"]), 3), np.float32)}, 64)
    return ServingBackend(tf, function, served, "float32")


def test_timing_tensorflow_names_the_sample_that_it_refuses(
    lookup: Lookup, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "time_function", _failing)
    with pytest.raises(EdgetfError, match="sample 0, not each time, in the operation Gather: index 9"):
        _local(lookup.gather).measure(samples, Outputs({}), 1, ignore)


def test_the_comparison_with_a_server_names_the_sample_that_is_refused_here(lookup: Lookup) -> None:
    x = np.zeros((8, 4), np.int32)
    x[5, 2] = 77
    with pytest.raises(EdgetfError, match=r"sample 5, in the operation \S*Gather\S*: indices\[0,2\] = 77"):
        _served(lookup.gather).refuse_other_model(make_samples("x.npz", {"x": x}, None), ("y",))


def test_timing_a_server_names_the_sample_that_it_refuses(
    lookup: Lookup, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(request: object, seconds: float) -> None:
        raise RefusedError(ValueError("index 9"))

    monkeypatch.setattr(backend, "time_calls", refused)
    known = Outputs({"y": np.zeros((200, 3), np.float32)})
    with pytest.raises(EdgetfError, match="sample 0, not each time: index 9"):
        _served(lookup.gather).measure(samples, known, 1, ignore)


def test_calibration_names_the_sample_and_the_operation(lookup: Lookup, samples: Samples) -> None:
    function = tf.function(lookup.gather).get_concrete_function(tf.TensorSpec([1, 4], tf.int32, name="x"))
    content = tf.lite.TFLiteConverter.from_concrete_functions([function], lookup).convert()
    used = Calibration(samples.used(), len(samples), 0)
    with pytest.raises(
        EdgetfError, match=rf"fails on calibration sample {_BAD}: .*GATHER.* failed to invoke"
    ) as caught:
        calibrate(content, samples, used, RangeChoice(), lambda done, of: None)
    assert caught.value.message.isprintable()


def test_a_run_on_a_device_names_the_sample() -> None:
    why = "it fails on sample 7: gather index out of bounds; Node number 3"
    with pytest.raises(JobError, match=why), naming_sample(7):
        raise RuntimeError("gather index out of bounds\nNode number 3 (GATHER) failed to invoke.")


def test_messages_of_an_interpreter_become_one_line() -> None:
    reported = "tflite/kernels/gather.cc:57 index out of boundsNode number 0 (GATHER) failed to invoke.\n"
    assert in_one_line(reported) == "index out of bounds; Node number 0 (GATHER) failed to invoke"
