"""Keras files of both generations and formats that contain code: a Lambda whose code writes a MARK when it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_CODE = """
import sys
if sys.argv[1] == "2":
    import tf_keras as keras
else:
    import keras
i = keras.Input((4,), name="v")
h = keras.layers.Lambda(
    lambda t: (__import__("builtins").open("MARK", "a").write("ran"), t * 2)[1], output_shape=(4,)
)(i)
model = keras.Model(i, keras.layers.Dense(3)(h))
for suffix in ("h5", "keras"):
    model.save(f"k{sys.argv[1]}.{suffix}")
"""


def make(folder: Path) -> None:
    """`k2.h5`, `k2.keras`, `k3.h5` and `k3.keras` in `folder`, and no MARK."""
    for generation in ("2", "3"):
        env = {**os.environ, "TF_USE_LEGACY_KERAS": "1" if generation == "2" else "0"}
        command = [sys.executable, "-c", _CODE, generation]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, env=env)
    (folder / "MARK").unlink()
