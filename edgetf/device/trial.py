"""Whether the delegate that `devices.toml` gives a device runs anything there. In: a device. Out: findings.

A model of one softmax is run on it as a variant would be: only that shows whether a library loads, a driver answers and
a processor has the instructions.
"""

from __future__ import annotations

import numpy as np

from edgetf.device.kinds import KINDS
from edgetf.device.lacking import Finding
from edgetf.device.runner.delegates import DEFAULT_DELEGATE, NO_DELEGATE, NPUS, find_delegate
from edgetf.device.runner.job import Job
from edgetf.device.settings import DeviceSettings
from edgetf.flatbuffer import new_model, pack
from edgetf.owned import scratch

_SHAPE = (1, 4)


def try_delegate(name: str, settings: DeviceSettings) -> list[Finding]:
    """What keeps the device's own delegate from running there; nothing for those that every runtime has, and for NPUs,
    which run only what their compilers take. Raises DeviceError if the device fails, or if another run holds it.
    """
    if settings.delegate in (DEFAULT_DELEGATE, NO_DELEGATE) and not settings.delegate_options:
        return []
    if find_delegate(settings.delegate).module == NPUS:
        return []
    device = KINDS[settings.kind].make(name, settings)
    with scratch() as work, device.reserve():
        (work / "softmax.tflite").write_bytes(_softmax())
        np.save(work / "x.npy", np.zeros(_SHAPE, np.float32))
        job = Job(
            str(work / "softmax.tflite"),
            {"x": str(work / "x.npy")},
            timing=None,
            runtime=settings.runtime,
            delegate=settings.delegate,
            delegate_options=settings.delegate_options,
        )
        measurement = device.run(job, work / "out", lambda event: None)
    if measurement.error is None:
        return []
    hint = "install it there, or set another delegate in devices.toml"
    return [Finding(True, f"delegate {settings.delegate}: {measurement.error}", hint)]


def _softmax() -> bytes:
    """A `.tflite` file of one softmax over four float32 values."""
    model, schema = new_model()
    graph, operator, code = schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SOFTMAX
    code.version = 1
    operator.inputs, operator.outputs = [0], [1]
    operator.builtinOptionsType, operator.builtinOptions = (
        schema.BuiltinOptions.SoftmaxOptions,
        schema.SoftmaxOptionsT(),
    )
    operator.builtinOptions.beta = 1.0
    graph.tensors = [schema.TensorT(), schema.TensorT()]
    for tensor, name in zip(graph.tensors, (b"x", b"y"), strict=True):
        tensor.name, tensor.shape, tensor.type = name, list(_SHAPE), schema.TensorType.FLOAT32
    graph.inputs, graph.outputs, graph.operators = [0], [1], [operator]
    model.subgraphs, model.operatorCodes = [graph], [code]
    return pack(model)
