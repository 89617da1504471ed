"""LiteRT's CompiledModel in the form of TFLite's interpreter: for accelerators that the interpreter does not have.

In: a `.tflite` file, and from the class that knows the accelerator the options of LiteRT. Out: an Interpreter for
`interpreter.Session`. LiteRT falls back to the CPU without an error, and reports then that everything is accelerated:
what it prints decides, and that class reads it.
"""

from __future__ import annotations

import importlib
import inspect
import mmap
import tempfile
from typing import Any

import numpy as np

from .answers import in_one_line
from .from_file import FromFile, printed, text
from .job import DelegateError, JobError


def _mapped(path: str) -> Any:
    """A file of which only the bytes that are looked at are in memory: all would count as the variant's."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _environment(model: Any, plugins: str) -> dict[str, Any]:
    """The environment in which LiteRT finds plugins in this folder alone; none for a LiteRT without that choice."""
    if "environment" not in inspect.signature(model.from_file).parameters:
        return {}
    create = importlib.import_module("ai_edge_litert.environment").Environment.create
    return {"environment": create(dispatch_library_path=plugins, compiler_plugin_path=plugins)}


class CompiledModel(FromFile):
    """A variant that LiteRT has compiled; `_log` is what it printed. Raises JobError with the reason if it does not.

    With `plugins` LiteRT loads the libraries of NPUs that are installed: some 25 MB for OpenVINO.
    """

    plugins = False

    def __init__(self, model_path: str, num_threads: int) -> None:
        super().__init__(importlib.import_module("ai_edge_litert.schema_py_generated"), _mapped(model_path))
        self._refuse_unfit()
        self._tensor_names: dict[int, str] = {}
        self._buffers: dict[str, dict[str, Any]] = {}
        self._read: dict[int, np.ndarray[Any, Any]] = {}
        with printed() as log:
            self._printed = log
            try:
                self._compiled = self._compile(model_path, num_threads)
                self._key = next(iter(self._compiled.get_signature_list()))
                self._prepare()
            except (RuntimeError, ValueError) as error:
                raise self._fault(str(error), log()) from error
            self._log = log()

    def _compile(self, path: str, threads: int) -> Any:
        """LiteRT's own CompiledModel of a file. Raises DelegateError for a LiteRT without it."""
        try:
            model = importlib.import_module("ai_edge_litert.compiled_model").CompiledModel
            litert = importlib.import_module("ai_edge_litert.options")
        except ImportError as error:
            raise DelegateError(
                f"this LiteRT has no CompiledModel: pip install 'ai-edge-litert>=2.1.5' ({error})"
            ) from error
        with tempfile.TemporaryDirectory() as empty:
            environment = {} if self.plugins else _environment(model, empty)
            return model.from_file(path, options=self._options(litert, threads), **environment)

    def _options(self, litert: Any, threads: int) -> Any:
        """The options of LiteRT, made with its module for them."""
        raise NotImplementedError

    def _fault(self, raised: str, log: str) -> JobError:
        """Why it was not compiled, by what LiteRT raised and what it printed."""
        return JobError(self._why_not(raised, log))

    def _why_not(self, raised: str, log: str) -> str:
        """Why it was not compiled, in one line."""
        return in_one_line(raised)

    def _refuse_unfit(self) -> None:
        """Raise JobError for what LiteRT 2.3 compiles and gives wrong answers for."""
        if set(self.input_tensors) & set(self.output_tensors):
            raise JobError("one of its inputs is an output too, which LiteRT's CompiledModel fills with other numbers")
        tensors = (self.graph.Tensors(k) for k in range(self.graph.TensorsLength()))
        if any(one.IsVariable() for one in tensors):
            raise JobError("it keeps a state from one run to the next, which an accelerator cannot forget")

    def _prepare(self) -> None:
        """Details of inputs and outputs, and buffers for them."""
        signature = self.get_signature_list().get(self._key)
        for kind, tensors in (("input", self.input_tensors), ("output", self.output_tensors)):
            known = getattr(self._compiled, f"get_{kind}_tensor_details")(self._key)
            names = self._names(signature, kind, tensors)
            create = getattr(self._compiled, f"create_{kind}_buffer_by_name")
            for index, name in names.items():
                self.details[index] = self.detail(index, known[name]["shape"], known[name]["dtype"])
            self._tensor_names.update(names)
            self._buffers[kind] = {name: create(self._key, name) for name in names.values()}

    def _names(self, signature: Any, kind: str, tensors: list[int]) -> dict[int, str]:
        """The names of inputs or outputs by their tensors: those of the signature, else their own."""
        if signature is None:
            return {k: text(self.graph.Tensors(k).Name()) for k in tensors}
        count, of = (
            (signature.InputsLength, signature.Inputs)
            if kind == "input"
            else (signature.OutputsLength, signature.Outputs)
        )
        return {int(one.TensorIndex()): text(one.Name()) for one in map(of, range(count()))}

    def resize_tensor_input(self, index: int, shape: list[int]) -> None:
        """Raise JobError: an accelerator's code is for one shape."""
        detail = self.details[index]
        own = [int(axis) for axis in detail["shape"]]
        raise JobError(f"input {detail['name']!r} was compiled for the shape {own}, the samples need {shape}")

    def allocate_tensors(self) -> None:
        """They were allocated when the variant was compiled."""

    def set_tensor(self, index: int, values: np.ndarray[Any, Any]) -> None:
        self._buffers["input"][self._tensor_names[index]].write(np.ascontiguousarray(values))

    def get_tensor(self, index: int) -> np.ndarray[Any, Any]:
        """A copy of an output of the last run."""
        return self._read[index].copy()

    def invoke(self) -> None:
        """Run and read the outputs: LiteRT may return before an accelerator is done, and reading waits for it."""
        self.run()
        self._read = {index: self.read(index) for index in self.output_tensors}

    def run(self) -> None:
        """Run, or have an accelerator begin to."""
        self._compiled.run_by_name(self._key, self._buffers["input"], self._buffers["output"])

    def read(self, index: int) -> np.ndarray[Any, Any]:
        """An output of the last run, out of LiteRT's buffer."""
        detail = self.details[index]
        shape = [int(axis) for axis in detail["shape"]]
        count = int(np.prod(shape, dtype=np.int64))
        values = self._buffers["output"][self._tensor_names[index]].read(count, np.dtype(detail["dtype"]))
        return np.array(values).reshape(shape)

    def reset_all_variables(self) -> None:
        """There are none: a variant that keeps a state is refused."""
