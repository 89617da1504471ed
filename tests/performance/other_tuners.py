"""What other tools would do to the same model, for a comparison: ai-edge-quantizer's recipes, and NNCF's search order.

ai-edge-quantizer is not a dependency of edgetf; its recipes are left out if it is not installed. NNCF has no TFLite
backend: its order (accuracy control: revert the operation that alone gains most, one at a time, and evaluate in full
after each) is played here on edgetf's own mixtures, so that both searches have the same candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter

import numpy as np

from edgetf.benchmarks.judging.ground import prepare
from edgetf.benchmarks.rows import Outputs
from edgetf.benchmarks.timing.targets import find_targets
from edgetf.conversion.splice import Mixture, Splicer
from edgetf.results import Verdict, read_reference
from edgetf.samples import Array, load_samples
from edgetf.tuning.evaluate import Criteria, Evaluator, Rows
from edgetf.tuning.running import Fed, Scorer, answers

RECIPES = ("dynamic_wi8_afp32", "weight_only_wi8_afp32", "static_wi8_ai8")
_CALIBRATED, _RANKED = 200, 32
_MOST = 40  # evaluations after which NNCF's order is given up


@dataclass(frozen=True)
class Other:
    """A file of another tool: how many full evaluations and seconds it took; or the `problem` that it had."""

    path: Path
    evaluations: int
    seconds: float
    problem: str = ""


def quantize_by_recipes(float32: Path, calibration: Mapping[str, Array], out: Path) -> list[Other]:
    """The files that ai-edge-quantizer's recipes make of a float32 variant; none if it is not installed."""
    try:
        quantizer, recipe = (import_module(f"ai_edge_quantizer.{name}") for name in ("quantizer", "recipe"))
    except ModuleNotFoundError:
        return []
    rows = [
        {name: np.asarray(values[k : k + 1]) for name, values in calibration.items()}
        for k in range(min(_CALIBRATED, len(next(iter(calibration.values())))))
    ]
    made = []
    for name in RECIPES:
        path, begin = out / f"{name}.tflite", perf_counter()
        try:
            tool = quantizer.Quantizer(str(float32), getattr(recipe, name)())
            ranges = tool.calibrate({"serving_default": rows}) if tool.need_calibration else None
            path.write_bytes(bytes(tool.quantize(ranges, enable_progress_report=False).quantized_model))
            problem = ""
        except Exception as error:  # of another project's tool: it is what the table reports
            problem = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        made.append(Other(path, 0, perf_counter() - begin, problem))
    return made


def revert_one_by_one(variants: Path, reference: Path, calibration: str, out: Path) -> Other:
    """NNCF's order: int8, of which operations go back to float16 until the budget is kept, evaluated after each."""
    begin, path = perf_counter(), out / "nncf_order.tflite"
    targets = [one for one in find_targets([variants]) if one.failed is None and one.scheme]
    splicer = Splicer({str(one.scheme): one.path.read_bytes() for one in targets if one.scheme != "int8-io"})
    if not {"int8", "float16"} <= set(splicer.names):
        return Other(path, 0, 0.0, "; ".join(splicer.left_out.values()) or "there is no int8 variant")
    evaluator = Evaluator(prepare(targets, reference, None, None), Criteria())  # each evaluation is one of all samples
    known = read_reference(reference)
    samples = load_samples(calibration, known.source.inputs).take(_RANKED)
    unbatched = frozenset(one.name for one in known.outputs if not one.batched)
    scorer = Scorer(splicer, Fed(samples.inputs, None, unbatched, samples.batch), {})
    count = len(splicer.operations)
    units = [k for k in range(count) if splicer.differs("int8", k)]
    whole = ["int8"] * count

    def without(gone: set[int]) -> Mixture:
        together = splicer.together(gone)  # what int8 has equalized cannot be taken apart
        return Mixture(tuple("float16" if k in together else name for k, name in enumerate(whole)))

    alone = scorer.score([without({k}) for k in units])
    order = [units[k] for k in np.argsort([-one.db for one in alone], kind="stable")]
    fed = Fed(evaluator.ground.samples.inputs, None, unbatched, evaluator.ground.samples.batch)
    for evaluations in range(1, min(len(order), _MOST) + 2):
        content = splicer.splice(without(set(order[: evaluations - 1])))
        found = evaluator.evaluate("nncf order", "tuned", partial(_answer, content, fed))
        if found.verdict is Verdict.PASS:
            path.write_bytes(content)
            return Other(path, evaluations, perf_counter() - begin)
    return Other(path, evaluations, perf_counter() - begin, f"nothing passed in {evaluations} evaluations")


def _answer(content: bytes, fed: Fed, rows: Rows) -> Outputs:
    return answers(content, fed.take(rows))
