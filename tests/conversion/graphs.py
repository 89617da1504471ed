"""Flatbuffers as graphs of values: what two converters make is the same if these are equal."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgetf.flatbuffer import builtin_code, listed, names_of, new_model, pack, unpack

Graph = tuple[list[tuple[Any, ...]], list[Any]]


def graphs_of(content: bytes) -> list[Graph]:
    """Each graph: its operations, with options and where their inputs come from, and where its outputs do.

    A constant counts by its dtype, shape, bytes and scales; one that DEQUANTIZE unpacks too.
    """
    model, schema = unpack(content)
    return [_graph(model, schema, graph) for graph in model.subgraphs]


def _graph(model: Any, schema: Any, graph: Any) -> Graph:
    kinds, types = names_of(schema.BuiltinOperator), names_of(schema.TensorType)
    values: dict[int, Any] = {int(k): ("input", n) for n, k in enumerate(listed(graph.inputs))}

    def value(k: int) -> Any:
        if k < 0 or k in values:
            return values.get(k)
        tensor = graph.tensors[k]
        scales = [] if tensor.quantization is None else listed(tensor.quantization.scale)
        data = model.buffers[tensor.buffer].data
        shape = tuple(int(axis) for axis in listed(tensor.shape))
        return (
            "constant",
            types[tensor.type],
            shape,
            bytes(listed(data)),
            tuple(np.asarray(scales, np.float32).tolist()),
        )

    operations: list[tuple[Any, ...]] = []
    for op in listed(graph.operators):
        kind, inputs = kinds[builtin_code(model, op)], tuple(value(int(k)) for k in listed(op.inputs))
        if kind == "DEQUANTIZE" and inputs[0][0] == "constant":
            values[int(op.outputs[0])] = "unpacked", *inputs
            continue
        options = {} if op.builtinOptions is None else {name: str(one) for name, one in vars(op.builtinOptions).items()}
        results = tuple(types[graph.tensors[int(k)].type] for k in listed(op.outputs))
        values |= {int(k): ("result", len(operations), n) for n, k in enumerate(listed(op.outputs))}
        operations.append((kind, tuple(sorted(options.items())), inputs, results))
    return operations, [value(int(k)) for k in listed(graph.outputs)]


def constants_of(graphs: list[Graph]) -> set[str]:
    """The dtypes of all constants of real numbers of two and more axes."""
    found = set()
    for operations, _ in graphs:
        for _, _, inputs, _ in operations:
            for one in inputs:
                plain = one[1] if one is not None and one[0] == "unpacked" else one
                if plain is not None and plain[0] == "constant" and len(plain[2]) > 1 and plain[1] != "INT32":
                    found.add(plain[1])
    return found


def chain(*steps: str | tuple[str, Any], size: int = 1) -> bytes:
    """A flatbuffer of operations one after another, on `size` numbers: a kind, or a kind and a float constant.

    The tensors are `input`, then `result-K`, after `constant-K` if there is one.
    """
    model, schema = new_model()
    graph = schema.SubGraphT()
    model.subgraphs, model.operatorCodes, model.description = [graph], [], b""
    graph.tensors, graph.operators, graph.inputs = [], [], np.array([0], np.int32)

    def add(name: str, values: Any) -> int:
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.name, tensor.type = name.encode(), schema.TensorType.FLOAT32
        tensor.shape = np.array((1, size) if values is None else values.shape, np.int32)
        if values is not None:
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    last = add("input", None)
    for number, step in enumerate(steps):
        kind, values = step if isinstance(step, tuple) else (step, None)
        op, code = schema.OperatorT(), schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version, op.opcodeIndex = 1, number
        model.operatorCodes.append(code)
        inputs = [last] if values is None else [last, add(f"constant-{number}", values)]
        last = add(f"result-{number}", None)
        op.inputs, op.outputs = np.array(inputs, np.int32), np.array([last], np.int32)
        graph.operators.append(op)
    graph.outputs = np.array([last], np.int32)
    return pack(model)
