"""Training for the edge with tfmot. In: a model of the zoo, a Keras file or a function. Out: a smaller model.

Everything happens in a child process with Keras 2, whatever Keras the caller has. It writes the model file,
`saved_model/` to convert, `float_saved_model/` (the model as it was before), `train.npz`, `test.npz`, `training.json`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetf import files
from edgetf.conversion import keras_file
from edgetf.defaults import FINE_TUNING_EPOCHS
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.events import OnEvent
from edgetf.models.training import TRAINING_SCHEMA, Training
from edgetf.models.zoo import find_zoo_model
from edgetf.process import HungError, run_child
from edgetf.samples import SampleSource

_IDLE_S = 1800.0
_WORKER: Sequence[str] = (sys.executable, "-m", "edgetf.models.compression_worker")


@dataclass(frozen=True)
class Compression:
    """What to do: `prune` is the share of each layer's weights that become 0, `cluster` how many distinct ones it
    keeps, `qat` trains with the arithmetic of int8; each stage for `epochs`."""

    qat: bool = False
    prune: float | None = None
    cluster: int | None = None
    epochs: int = FINE_TUNING_EPOCHS

    def check(self) -> None:
        """Raise EdgetfError for meaningless figures."""
        if self.prune is not None and not 0 < self.prune < 1:
            raise EdgetfError(f"--prune {self.prune:g} is not between 0 and 1", "0.5 makes half of the weights zero")
        if self.cluster is not None and not 2 <= self.cluster <= 256:
            raise EdgetfError(f"--cluster {self.cluster} is not from 2 to 256", "16 is usual")
        if self.epochs < 1:
            raise EdgetfError(f"cannot train for {self.epochs} epochs", "give --epochs at least 1")
        if not self.qat and self.prune is None and self.cluster is None:
            raise EdgetfError("nothing to do", "give --qat, --prune or --cluster, or several of them")


@dataclass(frozen=True)
class CompressionRequest:
    """The request to the worker. `model` is a name of the zoo, a Keras file, or `module:function`, which builds one.

    A model that is not in the zoo needs labelled `train` and `test` samples (`.npz`), with NaN only if `allow_nan`.
    """

    model: str
    train: str | None
    test: str | None
    compression: Compression
    out: str
    trust: bool = False
    allow_nan: bool = False


def train_compressed(
    model: str,
    out: Path,
    compression: Compression,
    on_event: OnEvent,
    *,
    samples: SampleSource | None = None,
    test: SampleSource | None = None,
    allow_nan: bool = False,
    trust: bool = False,
    force: bool = False,
) -> Training:
    """Train `model` with tfmot and leave the files in `out`.

    `samples` and `test` are labelled samples for a Keras file or a `module:function`; the zoo has its own. `allow_nan`
    is for samples with NaN, which the model imputes; `trust` lets a Keras file bring code.
    Raises EdgetfError for a model that tfmot cannot take, with the reason.
    """
    compression.check()
    is_zoo = ":" not in model and not keras_file.is_keras_file(Path(model))
    if is_zoo:
        find_zoo_model(model)
    elif samples is None or test is None:
        raise EdgetfError(f"{model} has no samples", "give labelled ones: --samples train.npz --test test.npz")
    if keras_file.is_keras_file(Path(model)):
        keras_file.refuse_code(Path(model), keras_file.read_header(Path(model)), trust)
    if importlib.util.find_spec("tensorflow_model_optimization") is None:
        raise MissingExtraError("tensorflow-model-optimization", "tfmot")
    with files.staged(
        out, ["training.json", "saved_model", "float_saved_model", "model.keras", "model.h5"], force
    ) as staging:
        request = CompressionRequest(
            model,
            str(samples) if samples else None,
            str(test) if test else None,
            compression,
            str(staging),
            trust=trust,
            allow_nan=allow_nan,
        )
        text = json.dumps(files.to_plain(request))

        folders = [str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]  # module:function is looked for here
        env = {**keras_file.environment(2), "PYTHONPATH": os.pathsep.join(folders)}
        try:
            ended = run_child(_WORKER, on_event, request=text, env=env, idle_s=_IDLE_S)
        except HungError as error:
            raise EdgetfError(f"the training of {model} hung: {error}", "try fewer samples") from error
        if ended.code != 0:
            raise EdgetfError(f"the training of {model} {ended.how}", ended.last_line or "it printed nothing")
        return files.read_document(staging / "training.json", Training, TRAINING_SCHEMA)
