"""Run a flatbuffer in this process. In: samples. Out: its tensors or its outputs.

`Exposed` makes chosen tensors outputs of the graph, which then runs under XNNPACK; `answers` returns the model's own
outputs. Both take inferences by number, because a model may take several samples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.device.runner.machine import cores
from edgetf.flatbuffer import pack, unpack
from edgetf.samples import Array, Samples, release

Fetch = Callable[[int], Array]


def expose(flatbuffer: bytes, tensors: Iterable[int]) -> bytes:
    """The flatbuffer with these tensors of the main graph as its outputs. Signatures stay, for the names of inputs."""
    model, _ = unpack(flatbuffer)
    model.subgraphs[0].outputs = np.array(list(tensors), np.int32)
    for signature in model.signatureDefs or []:
        signature.outputs = []
    return pack(model)


def prepare(interpreter: Any, samples: Samples) -> dict[str, int]:
    """Allocate for the samples' shapes; the tensor indices of the inputs by name."""
    details = _inputs(interpreter)
    for name, array in samples.feed(0, samples.batch).items():
        shape = list(array.shape)
        if shape != [int(axis) for axis in details[name]["shape"]]:
            interpreter.resize_tensor_input(details[name]["index"], shape)
    interpreter.allocate_tensors()
    return {name: details[name]["index"] for name in samples.inputs}


def walk(
    flatbuffer: bytes,
    tensors: Sequence[int],
    samples: Samples,
    inferences: Iterable[int],
    visit: Callable[[Fetch], None],
) -> None:
    """Run `inferences` and call `visit` after each with a function that fetches the value of one of `tensors`.

    A value is the interpreter's own memory: `visit` copies what it keeps. States start at zero each time. Raises
    RuntimeError or ValueError, as the interpreter does.
    """
    graph = unpack(flatbuffer)[0].subgraphs[0]
    inputs = {int(k) for k in graph.inputs}
    exposed = expose(flatbuffer, [k for k in tensors if k not in inputs] or list(graph.outputs))
    walk_exposed(exposed, tensors, samples, inferences, visit)


def walk_exposed(
    exposed: bytes,
    tensors: Sequence[int],
    samples: Samples,
    inferences: Iterable[int],
    visit: Callable[[Fetch], None],
) -> None:
    """As `walk`, for a flatbuffer that `expose` has made."""
    interpreter = _interpreter(exposed)
    indices = prepare(interpreter, samples)
    views = {k: interpreter.tensor(k) for k in tensors}
    for number in inferences:
        _run(interpreter, indices, samples, number)
        visit(lambda k: views[k]())


def forget(samples: Samples) -> None:
    """Release the memory of samples that are mapped from a file: they are read again where they are needed again."""
    for array in samples.inputs.values():
        release(array)


def answers(flatbuffer: bytes, samples: Samples, inferences: Iterable[int]) -> dict[str, Array]:
    """The outputs by name, inferences along axis 0, in real numbers if they are quantized.

    Outputs whose shape differs from inference to inference are left out. Raises as `walk` does.
    """
    interpreter = _interpreter(flatbuffer)
    indices = prepare(interpreter, samples)
    found: dict[str, list[Array]] = {}
    outputs = _outputs(interpreter)
    for number in inferences:
        _run(interpreter, indices, samples, number)
        for name, detail in outputs.items():
            found.setdefault(name, []).append(_dequantized(interpreter.get_tensor(detail["index"]), detail))
    return {name: np.stack(values) for name, values in found.items() if len({one.shape for one in values}) == 1}


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content, num_threads=cores())


def _run(interpreter: Any, indices: dict[str, int], samples: Samples, number: int) -> None:
    begin = number * samples.batch
    details = {detail["index"]: detail for detail in interpreter.get_input_details()}
    for name, array in samples.feed(begin, begin + samples.batch).items():
        stored = _quantized(array, details[indices[name]])
        interpreter.set_tensor(indices[name], np.require(stored, requirements="C"))
    forget(samples)
    interpreter.reset_all_variables()
    interpreter.invoke()


def _inputs(interpreter: Any) -> dict[str, Any]:
    signatures = interpreter.get_signature_list()
    if signatures:
        return dict(interpreter.get_signature_runner(next(iter(signatures))).get_input_details())
    return {detail["name"]: detail for detail in interpreter.get_input_details()}


def _outputs(interpreter: Any) -> dict[str, Any]:
    signatures = interpreter.get_signature_list()
    if signatures:
        return dict(interpreter.get_signature_runner(next(iter(signatures))).get_output_details())
    return {detail["name"]: detail for detail in interpreter.get_output_details()}


def _quantized(values: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    if not scale or values.dtype == detail["dtype"]:
        return values
    limits = np.iinfo(detail["dtype"])
    steps: Array = np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(detail["dtype"])
    return steps


def _dequantized(values: Array, detail: dict[str, Any]) -> NDArray[Any]:
    scale, zero = detail["quantization"]
    if not scale or not np.issubdtype(values.dtype, np.integer):
        return values
    return (values.astype(np.float32) - np.float32(zero)) * np.float32(scale)
