"""Names and quantization of a variant's inputs and outputs, from its file: for interpreters that do not report them.

In: the flatbuffer schema that comes with an interpreter, and a file. Out: what TFLite's own interpreter answers.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np


@dataclass(frozen=True)
class Signature:
    """A signature of the first graph: details of its inputs and outputs by name."""

    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    _subgraph_index: int

    def get_input_details(self) -> dict[str, dict[str, Any]]:
        return self.inputs

    def get_output_details(self) -> dict[str, dict[str, Any]]:
        return self.outputs


class FromFile:
    """The methods of TFLite's interpreter that a file answers. `details` are by the tensor's number, from `detail`."""

    def __init__(self, schema: Any, content: bytes) -> None:
        self.model = schema.Model.GetRootAs(content, 0)
        self.graph = self.model.Subgraphs(0)
        self.input_tensors = [int(self.graph.Inputs(k)) for k in range(self.graph.InputsLength())]
        self.output_tensors = [int(self.graph.Outputs(k)) for k in range(self.graph.OutputsLength())]
        self.details: dict[int, dict[str, Any]] = {}

    def get_signature_list(self) -> dict[str, object]:
        """The signatures by name, in their order."""
        signatures = (self.model.SignatureDefs(k) for k in range(self.model.SignatureDefsLength()))
        return {text(one.SignatureKey()): one for one in signatures}

    def get_signature_runner(self, key: str) -> Signature:
        """The inputs and outputs of a signature; of one of another graph, only which graph."""
        one: Any = self.get_signature_list()[key]
        index = int(one.SubgraphIndex())
        if index:
            return Signature({}, {}, index)
        inputs = (one.Inputs(k) for k in range(one.InputsLength()))
        outputs = (one.Outputs(k) for k in range(one.OutputsLength()))
        return Signature(self._named(inputs), self._named(outputs), index)

    def _named(self, maps: Iterable[Any]) -> dict[str, dict[str, Any]]:
        return {text(one.Name()): self.details[int(one.TensorIndex())] for one in maps}

    def get_input_details(self) -> list[dict[str, Any]]:
        return [self.details[tensor] for tensor in self.input_tensors]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [self.details[tensor] for tensor in self.output_tensors]

    def detail(self, index: int, shape: Any, dtype: Any) -> dict[str, Any]:
        """A tensor of the first graph as TFLite's interpreter describes it, with the shape that it has in memory."""
        tensor = self.graph.Tensors(index)
        known = np.asarray(shape, np.int32)
        free = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else known
        parameters = tensor.Quantization()
        quantized = parameters is not None and parameters.ScaleLength() == 1
        zero_point = int(parameters.ZeroPoint(0)) if quantized and parameters.ZeroPointLength() else 0
        return {
            "name": text(tensor.Name()),
            "index": index,
            "shape": known,
            "shape_signature": np.asarray(free, np.int32),
            "dtype": np.dtype(dtype).type,
            "quantization": (float(parameters.Scale(0)) if quantized else 0.0, zero_point),
        }


def text(value: bytes | None) -> str:
    """A text of the file."""
    return (value or b"").decode(errors="replace")


@contextmanager
def printed() -> Iterator[Callable[[], str]]:
    """Enclose calls of an interpreter that prints to standard error; gives a function that returns what it printed.

    Only for a process that does nothing else: its standard error is redirected meanwhile.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)

        def read() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield read
        finally:
            os.dup2(kept, 2)
            os.close(kept)
