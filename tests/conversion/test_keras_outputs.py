from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from edgetf.conversion.keras_outputs import OutputsRequest, compute_outputs
from edgetf.samples import save_arrays
from tests.conftest import ignore


def test_inputs_and_outputs_may_have_the_names_of_arguments_of_numpy(tmp_path: Path) -> None:
    """`numpy.savez(file, **arrays)` saves nothing that is called `file`."""
    one, other = keras.Input((3,), name="file"), keras.Input((3,), name="allow_pickle")
    model = keras.Model([one, other], {"file": keras.layers.Add()([one, other])})
    model.save(tmp_path / "m.keras")
    rows = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    save_arrays(tmp_path / "in.npz", {"file": rows, "allow_pickle": 2 * rows})
    request = OutputsRequest(str(tmp_path / "m.keras"), str(tmp_path / "in.npz"), str(tmp_path / "out.npz"))
    np.testing.assert_allclose(compute_outputs(request, ignore)["file"], 3 * rows, rtol=1e-6)
