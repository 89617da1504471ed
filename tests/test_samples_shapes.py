from __future__ import annotations

import numpy as np
import pytest

from edgetf.samples.shapes import Form, fits, shape_hint


@pytest.mark.parametrize(
    ("form", "shape"),
    [
        (("n", 28, 28, 1), (10, 28, 28)),
        (("n", 28, 28, 1), (28, 28, 1)),
        (("n", 28, 28, 3), (10, 3, 28, 28)),
        (("n", 3, 28, 28), (10, 28, 28, 3)),
        (("n", 784), (10, 28, 28)),
        (("n", 28, 28, 1), (10, 784)),
        (("n", 1), (10,)),
        (("n", 4), (4,)),
        (("n", 16), (10, 16, 1)),
        (("n", None), (10, 7, 1)),
        (("n", None, 40), (120, 40)),
    ],
)
def test_a_hint_is_an_expression_whose_result_fits(form: Form, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    expression = shape_hint([form], shape).removeprefix("save it as: ")
    changed = eval(expression, {"array": array, "numpy": np})
    assert fits(form, changed.shape)
    assert sorted(changed.flat) == list(array.flat)


def test_if_no_change_of_axes_helps_the_hint_gives_the_shape() -> None:
    hint = shape_hint([("n", 28, 28, 1), ("n", None, 28, 28, 1)], (10, 56, 28, 1))
    assert hint == "samples are along axis 0: save it as [n, 28, 28, 1], where n is their number"
