"""tfmot with every model of the zoo: a smaller twin, or a reason. In a process with Keras 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from edgetf.models.zoo import ZOO

SUBCLASSED = "is a subclassed model"
OUTPUTS = "has 2 outputs"
# the results of --qat, and of --prune and --cluster: "" for a twin, otherwise a part of the reason
EXPECTED = {
    "linear": (SUBCLASSED, SUBCLASSED),
    "mlp": ("", ""),
    "cnn": ("", ""),
    "mobilenet": ("", ""),
    "rnn": (SUBCLASSED, SUBCLASSED),
    "gru": ("tfmot cannot train GRU", ""),
    "tensor_array": ("tfmot cannot train RowReader", ""),
    "dqn": ("", ""),
    "keras_pipeline": ("", ""),
    "custom": ("tfmot cannot train Linear", "tfmot can prune no layer"),
    "autoencoder": (OUTPUTS, OUTPUTS),
}
CODE = """
import json, sys
import numpy as np
from edgetf.errors import EdgetfError
from edgetf.models import compress
from edgetf.models.compression import Compression
from edgetf.models.zoo import ZOO

def attempt(name, compression):
    model = ZOO[name].load().build()
    try:
        compress.check_supported(model, compression)
    except EdgetfError as error:
        return error.message
    few = [np.zeros([4, *model.input_shape[1:]], "float32")]
    for stage in compress.stages(compression, 1, few):
        model = stage.run(model, lambda model, callbacks: None)
    assert np.isfinite(model(few[0]).numpy()).all()
    return ""

print(json.dumps({n: [attempt(n, Compression(qat=True)), attempt(n, Compression(prune=0.5, cluster=4))] for n in ZOO}))
"""


@pytest.mark.slow
def test_every_model_has_a_smaller_twin_or_a_reason() -> None:
    env = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    ended = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=env, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert set(EXPECTED) == set(ZOO)
    for name, expected in EXPECTED.items():
        for reported, reason in zip(found[name], expected, strict=True):
            assert reported == reason == "" or (reason and reason in reported), (name, reported)
