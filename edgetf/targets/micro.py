"""Whether a variant runs on microcontrollers, asked of TFLite's interpreter for them. In: a variant. Out: a Fit.

All of it is asked in child processes: the interpreter may crash, and prints to standard error.
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgetf.device.runner import micro
from edgetf.device.runner.delegates import MICRO as PACKAGE
from edgetf.device.runner.isolate import ChildError, Send, run_children
from edgetf.errors import MissingExtraError
from edgetf.flatbuffer import Op, builtin_numbers, new_model, pack, read_contents
from edgetf.targets.fits import MICRO, Fit

_LITTLE = 1 << 20  # bytes of the arena for a model of one operation
_CUSTOM = "CUSTOM"
_ABSENT = "Failed to get registration"  # what the interpreter prints about an operation that it lacks


def fit_micro(path: Path) -> Fit:
    """The Fit of the variant at `path`. Raises EdgetfError if it is no variant, or tflite-micro is not installed."""
    contents = read_contents(path)
    if find_spec("tflite_micro") is None:
        raise MissingExtraError(PACKAGE, MICRO)
    content = path.read_bytes()
    from importlib import metadata  # imports the package email

    tool = f"{PACKAGE} {metadata.version(PACKAGE)}"
    fit = Fit(str(path), contents.sha256, contents.bytes, MICRO, tool, fits=False)
    try:
        arena = _alone(lambda: dataclasses.asdict(micro.find_arena(content)))
    except ChildError as error:
        return dataclasses.replace(fit, reason=str(error), missing=_missing(contents.ops))
    return dataclasses.replace(
        fit, fits=True, ram_bytes=arena["total"], activation_bytes=arena["head"], flash_bytes=contents.bytes
    )


def _missing(ops: tuple[Op, ...]) -> tuple[str, ...]:
    """The operations that the interpreter lacks: it reports the first one, and stops."""
    return tuple(dict.fromkeys(op.name for op in ops if _lacks(op)))


def _lacks(op: Op) -> bool:
    """Whether there is no such operation: a model that has it alone is refused for that."""
    numbers = builtin_numbers()
    model, schema = new_model()
    code, operator, graph = schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT()
    number = numbers.get(op.name, numbers[_CUSTOM])
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), op.version
    code.customCode = None if op.name in numbers else op.name.encode()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [], []
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], [operator]
    model.operatorCodes, model.subgraphs = [code], [graph]
    content = pack(model)
    try:
        _alone(lambda: {"opened": bool(micro.open_model(content, _LITTLE))})
    except ChildError as error:  # it may even crash without its inputs: then it is there
        return _ABSENT in str(error)
    return False


def _alone(task: Any) -> dict[str, Any]:
    """The result of `task` in a child process. Raises ChildError if it fails or crashes."""

    def run(send: Send) -> dict[str, Any]:
        found: dict[str, Any] = task()
        return found

    return run_children([run], lambda event: None)[0]
