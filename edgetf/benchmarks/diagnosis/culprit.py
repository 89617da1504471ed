"""The first operation of which a delegate gives another answer than TFLite's own kernels.

In: a variant whose answers on a delegate miss their budget, and the device. Out: a Culprit. The graph is cut behind an
operation, and the rest runs on the device with the delegate and without: bisecting finds the first cut that differs, as
LiteRT's culprit finder does, but along the edges of the graph: of an operation that differs, all that it computes from
are the same. That supposes that a difference does not vanish again further down.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import isfinite, log10
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.benchmarks.timing.fixed import inputs_of
from edgetf.benchmarks.timing.rounds import Bench
from edgetf.benchmarks.timing.targets import Target
from edgetf.conversion.layers import layer_of
from edgetf.conversion.prune import prune
from edgetf.device.runner.delegates import DEFAULT_DELEGATE, DELEGATES, NO_DELEGATE
from edgetf.device.runner.job import Job
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import builtin_code, listed, names_of, pack, tensor_name, unpack
from edgetf.results import Culprit, Result, Verdict
from edgetf.samples.inputs import write_inputs
from edgetf.schemes import SCHEMES

_ROWS = 16  # samples that run
_SAME_DB = 100.0  # what roundings of float32 do not reach, if the scheme has no budget of its own
_CAP_DB = 200.0  # no error at all
_OUTPUT = "output"
_PARTS = "look at its parts one by one"
_CPU = {row.name for row in DELEGATES.values() if row.node == DELEGATES[DEFAULT_DELEGATE].node} | {NO_DELEGATE}


def is_suspect(result: Result) -> bool:
    """Whether a delegate other than XNNPACK may have spoiled the answers of a result."""
    return result.parity is not None and result.parity.verdict is Verdict.FAIL and result.delegate not in _CPU


def find_culprit(target: Target, bench: Bench, work: Path) -> Culprit | None:
    """The first operation that differs; None if the delegate's answers are those of TFLite's kernels.

    Runs on the reserved device of `bench`, with the first samples of its plan. Raises EdgetfError if the variant cannot
    be cut, or if a part of it does not run there.
    """
    content = (target.private or target.path).read_bytes()
    model, schema = unpack(content)
    if len(model.subgraphs) > 1:
        raise EdgetfError("it has several graphs (loops or branches), which are not cut", _PARTS)
    least_db = SCHEMES[target.scheme].min_sqnr_db if target.scheme in SCHEMES else None
    compared = _Compared(target, bench, work, content)
    found = first_different(model, compared.db, _SAME_DB if least_db is None else least_db)
    if found is None:
        return None
    place, worst = found
    operation = model.subgraphs[0].operators[place]
    name = tensor_name(model.subgraphs[0].tensors[int(operation.outputs[0])])
    kind = names_of(schema.BuiltinOperator)[builtin_code(model, operation)]
    count = len(listed(model.subgraphs[0].operators))
    return Culprit(kind, layer_of(name, target.layers or {}), place + 1, count, worst)


def first_different(model: Any, db: Callable[[int], float], limit: float) -> tuple[int, float] | None:
    """The operation whose answer is less than `limit` from the right one, while that of none before it is: its index
    and its ratio; None if the ends of the graph are the same. `db` gives the ratio of the cut behind an operation.

    It runs about log2(operations) times, and more often if there are many branches.
    """
    before = _before(model)
    inner = reduce(or_, (known & ~(1 << k) for k, known in before.items()), 0)
    different = ((k, ratio) for k in before if not inner >> k & 1 and (ratio := db(k)) < limit)
    if (found := next(different, None)) is None:
        return None
    high, worst = found
    suspects = before[high]
    while rest := suspects & ~(1 << high):
        half = suspects.bit_count() / 2
        cuts = (k for k in before if rest >> k & 1)
        middle = min(cuts, key=lambda k: abs((before[k] & suspects).bit_count() - half))
        if (ratio := db(middle)) >= limit:
            suspects &= ~before[middle]
        else:
            suspects, high, worst = suspects & before[middle], middle, ratio
    return high, worst


@dataclass(frozen=True)
class _Compared:
    """Cuts of a variant, run with the delegate of the bench's plan and without one."""

    target: Target
    bench: Bench
    work: Path
    content: bytes

    def db(self, operation: int) -> float:
        """How far the answers of the graph up to an operation are from those of TFLite's kernels: signal to noise."""
        file = self.work / f"cut-{operation}.tflite"
        file.write_bytes(cut(self.content, operation, self.target.signature))
        model, _ = unpack(file.read_bytes())
        asked = self.bench.plan.job
        samples = inputs_of(asked)
        given = {m.name.decode(): samples[m.name.decode()] for m in model.signatureDefs[0].inputs}
        unbatched = [name for name in asked.unbatched_inputs if name in given]
        most = usable_rows(model, unbatched)
        rows = {name: values[:most] for name, values in given.items()}
        job = replace(
            asked,
            model=str(file),
            inputs=write_inputs(rows, self.work),
            known_inputs={},
            raw_inputs={},
            signature=None,
            unbatched_inputs=unbatched,
            unbatched_outputs=None,
            timing=None,
            sustained_s=0.0,
            energy_s=0.0,
            operations=False,
            workers=1,
        )
        ours = self._run(job)
        theirs = self._run(replace(job, delegate=NO_DELEGATE, delegate_options={}))
        return _decibels(theirs, ours)

    def _run(self, job: Job) -> np.ndarray[Any, Any]:
        out = self.work / f"{Path(job.model).stem}-{'alone' if job.delegate == NO_DELEGATE else 'delegate'}"
        measurement = self.bench.device.run(job, out, lambda event: None)
        if measurement.error is not None or measurement.samples is None:
            raise EdgetfError(f"a part of it does not run there: {measurement.error}", _PARTS)
        values: np.ndarray[Any, Any] = np.load(out / measurement.samples.outputs[0].file, allow_pickle=False)
        return values.astype(np.float64)


def _before(model: Any) -> dict[int, int]:
    """The operations behind which the graph can be cut, each with itself and those of them that it computes from: the
    bits of a number, since a graph may have thousands.

    An input has an effect on them, and their answer is a tensor of numbers that is not a truth value or a text.
    """
    graph = model.subgraphs[0]
    made = {int(k): 0 for k in graph.inputs}  # what each tensor is computed from
    found = {}
    for k, operation in enumerate(listed(graph.operators)):
        inputs, outputs = ([int(t) for t in listed(tensors)] for tensors in (operation.inputs, operation.outputs))
        if not outputs or made.keys().isdisjoint(inputs):
            continue
        known = reduce(or_, (made.get(t, 0) for t in inputs), 0)
        if graph.tensors[outputs[0]].type in _NUMBERS:
            known |= 1 << k
            found[k] = known
        made |= dict.fromkeys(outputs, known)
    return found


def usable_rows(model: Any, unbatched: Collection[str]) -> int:
    """About _ROWS samples: as many as fill the batches of a model that takes several at once."""
    tensors = model.subgraphs[0].tensors
    batched = [m for m in model.signatureDefs[0].inputs if m.name.decode() not in unbatched]
    shapes = [listed(one.shapeSignature) or listed(one.shape) for one in (tensors[int(m.tensorIndex)] for m in batched)]
    batch = max((int(shape[0]) for shape in shapes if shape), default=1)
    return _ROWS // batch * batch or batch if batch > 1 else _ROWS


_NUMBERS = {0, 1, 2, 3, 4, 7, 9}  # of TensorType: float32, float16, int32, uint8, int64, int16, int8


def cut(content: bytes, operation: int, signature: str | None = None) -> bytes:
    """The graph up to an operation, whose first result is its one output; inputs that have no effect on it are gone."""
    model, schema = unpack(content)
    graph = model.subgraphs[0]
    operators, result = listed(graph.operators), int(graph.operators[operation].outputs[0])
    needed, kept = {result}, []
    for k in range(operation, -1, -1):
        if not needed.isdisjoint(int(t) for t in listed(operators[k].outputs)):
            needed |= {int(t) for t in listed(operators[k].inputs)}
            kept.append(operators[k])
    names = _input_names(model, signature)
    graph.operators, graph.outputs = kept[::-1], [result]
    graph.inputs = [int(k) for k in graph.inputs if int(k) in needed]
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = b"serving_default", 0
    made.inputs = [_map(schema, names[k], k) for k in graph.inputs]
    made.outputs = [_map(schema, _OUTPUT, result)]
    model.signatureDefs, model.metadata, model.metadataBuffer = [made], None, None
    return prune(pack(model))


def _input_names(model: Any, signature: str | None) -> Mapping[int, str]:
    """The names of the inputs by their tensors: those of the signature, else their own."""
    graph = model.subgraphs[0]
    names = {int(k): tensor_name(graph.tensors[int(k)]) for k in graph.inputs}
    signatures = listed(model.signatureDefs)
    chosen = [one for one in signatures if signature in (None, one.signatureKey.decode())][:1]
    return names | {int(m.tensorIndex): m.name.decode() for one in chosen for m in listed(one.inputs)}


def _map(schema: Any, name: str, tensor: int) -> Any:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name.encode(), tensor
    return made


def _decibels(right: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> float:
    """The signal about the mean of all samples to the noise, as verdicts have it; a constant signal counts as it is."""
    centred = right - right.mean(axis=0)
    signal = float(np.sum(centred**2)) or float(np.sum(right**2))
    noise = float(np.sum((found - right) ** 2))
    if not isfinite(noise):
        return -_CAP_DB
    if noise == 0:
        return _CAP_DB
    return max(-_CAP_DB, min(10 * log10(signal / noise), _CAP_DB)) if signal > 0 else -_CAP_DB
