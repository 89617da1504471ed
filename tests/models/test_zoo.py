from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.errors import EdgetfError
from edgetf.models.digits import TEST, TRAIN, load_digits
from edgetf.models.zoo import ZOO, find_zoo_model


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(EdgetfError, match="unknown model 'linaer'") as caught:
        find_zoo_model("linaer")
    assert "did you mean 'linear'?" in caught.value.hint


@pytest.mark.parametrize("name", ZOO)
def test_every_model_has_a_file_with_a_docstring_and_loads_disjoint_data(name: str) -> None:
    module = ZOO[name].load()
    assert module.__doc__
    assert Path(str(module.__file__)).read_text().count("\n") < 120  # type: ignore[attr-defined]
    data = module.load_data()
    assert data.train.labels is not None
    assert data.test.labels is not None
    train, test = ({row.tobytes() for row in next(iter(part.inputs.values()))} for part in (data.train, data.test))
    assert not train & test


def test_digits_are_split_without_overlap_and_always_alike() -> None:
    data = load_digits()
    train, test = data.train.inputs["image"], data.test.inputs["image"]
    assert (len(train), len(test)) == (TRAIN, TEST)
    assert train.dtype == np.float32
    assert (train.min(), train.max()) == (0, 1)
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}
    assert data.test.digest == load_digits().test.digest
    assert set(np.unique(data.test.labels)) == set(range(10))  # type: ignore[arg-type]
