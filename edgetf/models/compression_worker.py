"""The child process of `compression`: `python -m edgetf.models.compression_worker`, a request on standard input.

It has TF_USE_LEGACY_KERAS=1, so that `tf.keras` is the Keras 2 that tfmot needs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from edgetf import files
from edgetf.backend import load_tensorflow
from edgetf.conversion.keras_export import export_model, load_keras_file
from edgetf.conversion.keras_file import keras_generation
from edgetf.events import OnEvent, Phase
from edgetf.functions import run_function
from edgetf.models.compression import CompressionRequest
from edgetf.models.training import describe
from edgetf.models.zoo import ZOO, Data
from edgetf.process import EventPipe, reporting
from edgetf.results import TensorSpec
from edgetf.samples import load_samples, save_samples
from edgetf.system import naming

_RATE_SHARE = 0.2  # of the learning rate that trained the model: it is fine-tuned, not trained again
_LEARNING_RATE = 1e-3
_CALIBRATION = 20  # batches that the ranges of int8 start from


def main() -> None:
    pipe = EventPipe()
    request = files.from_plain(json.loads(sys.stdin.read()), CompressionRequest)
    with reporting(pipe), naming(Path(request.out)):
        _train(request, pipe.send)


def _train(request: CompressionRequest, on_event: OnEvent) -> None:
    on_event(Phase("loading TensorFlow"))
    tf = load_tensorflow()
    from edgetf.models import compress
    from edgetf.models.fitting import batches, evaluate, fit
    from edgetf.models.pipeline import BATCH, SEED
    from edgetf.models.run import Run

    begin = perf_counter()
    tf.config.experimental.enable_op_determinism()
    tf.keras.utils.set_random_seed(SEED)
    model, data, recipe = _base(request, on_event)
    compress.check_supported(model, request.compression)
    export_model(model, Path(request.out) / "float_saved_model")
    metrics = {f"float_{name}": value for name, value in evaluate(model, data.test).items()}
    epochs = request.compression.epochs

    def train_stage(model: Any, callbacks: Sequence[Any]) -> None:
        fit(lambda: model, data.train, recipe, Run(on_event), callbacks)

    steps, few = -(-len(data.train) // BATCH) * epochs, batches(model, data.train, _CALIBRATION)
    for stage in compress.stages(request.compression, steps, few):
        on_event(Phase(stage.name))
        model = stage.run(model, train_stage)
    metrics.update(evaluate(model, data.test))
    metrics.update(compress.figures(model))
    out = Path(request.out)
    # Keras 2 cannot load a .keras file with tfmot's wrappers (0.8.1: "expected 5 variables, but received 3")
    model.save(out / ("model.h5" if request.compression.qat else "model.keras"))
    export_model(model, out / "saved_model")
    save_samples(out / "train.npz", data.train)
    save_samples(out / "test.npz", data.test)
    training = describe(request.model, perf_counter() - begin, metrics, data, tf)
    files.write_document(out / "training.json", training)


def _base(request: CompressionRequest, on_event: OnEvent) -> tuple[Any, Data, Any]:
    """The trained float model in Keras 2, its data, and the recipe for further training."""
    from edgetf.models.compress import check_graph, check_supported
    from edgetf.models.fitting import Recipe
    from edgetf.models.run import Run

    epochs = request.compression.epochs
    if request.model in ZOO:
        module: Any = ZOO[request.model].load()
        check_supported(module.build(), request.compression)  # before it takes minutes
        on_event(Phase(f"training {request.model}"))
        trained = module.train(module.load_data(), Run(on_event))
        recipe = getattr(module, "RECIPE", Recipe(epochs, _LEARNING_RATE))
        rate = recipe.learning_rate * _RATE_SHARE
        return trained.model, trained.data, replace(recipe, epochs=epochs, learning_rate=rate)
    assert request.train is not None
    assert request.test is not None
    from edgetf.models.keras2 import is_keras3, to_keras2

    if ":" in request.model:
        model = run_function(request.model, "a Keras model")
    else:
        model = _load(Path(request.model), request.trust)
    if is_keras3(model):
        model = to_keras2(model)
    check_graph(model)
    specs = [TensorSpec(i.name, tuple(i.shape), i.dtype.name) for i in model.inputs]
    data = Data(*(load_samples(one, specs, request.allow_nan) for one in (request.train, request.test)))
    # a function may return a model that nothing has trained yet
    return model, data, Recipe(epochs, _LEARNING_RATE * (1.0 if ":" in request.model else _RATE_SHARE))


def _load(path: Path, trust: bool) -> Any:
    """A Keras file, by the generation that wrote it; both can be used together if nothing asks for `tf.keras`."""
    return load_keras_file(path, "tf_keras" if keras_generation(path) == 2 else "keras", trust)


if __name__ == "__main__":
    main()
