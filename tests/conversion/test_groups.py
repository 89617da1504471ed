"""Mixtures that take operations apart which are equalized together are refused; all others are made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetf.conversion.factors import factors_of, with_factors
from edgetf.conversion.observe import answers
from edgetf.conversion.repairs import sqnr_db
from edgetf.conversion.skeleton import BASE
from edgetf.conversion.splice import Mixture, Splicer
from edgetf.errors import EdgetfError
from edgetf.results import read_conversion
from edgetf.samples import Samples, load_samples
from tests.conftest import Small

NAMES = (BASE, "float16", "dynamic", "int8")
FAITHFUL_DB = 12.0  # of any mixture of these files; of one that confuses scaled values, it is below 0


@pytest.fixture(scope="module")
def files(equalized: Path) -> dict[str, bytes]:
    return {name: (equalized / f"{name}.tflite").read_bytes() for name in NAMES}


@pytest.fixture(scope="module")
def splicer(files: dict[str, bytes]) -> Splicer:
    return Splicer(files)


@pytest.fixture(scope="module")
def samples(unlike: Small, equalized: Path) -> Samples:
    return load_samples(unlike.samples, read_conversion(equalized).source.inputs)


def test_layers_that_are_equalized_form_a_group_with_all_between_them(splicer: Splicer) -> None:
    [group] = splicer.groups["int8"]
    kinds = [splicer.operations[k].kind for k in sorted(group)]
    assert kinds[:3] == ["CONV_2D", "MAX_POOL_2D", "CONV_2D"]
    assert kinds[-1] == "FULLY_CONNECTED"
    assert len(group) < len(splicer.operations)
    assert splicer.together([min(group)]) == group
    assert splicer.groups["float16"] == splicer.groups[BASE] == ()


def test_a_mixture_that_splits_a_group_is_refused_in_one_line(splicer: Splicer) -> None:
    [group] = splicer.groups["int8"]
    for k in group:
        alone = tuple("int8" if one == k else BASE for one in range(len(splicer.operations)))
        without = tuple(BASE if one == k else "int8" for one in range(len(splicer.operations)))
        for choice in (alone, without):
            with pytest.raises(EdgetfError, match="are equalized together") as raised:
                splicer.splice(Mixture(choice))
            assert "\n" not in raised.value.message
    rounded = Mixture((BASE,) * len(splicer.operations), {min(group): "int8"})
    with pytest.raises(EdgetfError, match="are equalized together"):
        splicer.splice(rounded)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_other_mixture_answers_about_as_float32_and_has_the_factors_of_its_group(
    splicer: Splicer, files: dict[str, bytes], samples: Samples, data: st.DataObject
) -> None:
    [group] = splicer.groups["int8"]
    together = data.draw(st.booleans())
    choice = tuple(
        data.draw(st.sampled_from(NAMES if k not in group else NAMES[:3])) if k not in group or not together else "int8"
        for k in range(len(splicer.operations))
    )
    made = splicer.splice(Mixture(choice))
    assert factors_of(made) == (factors_of(files["int8"]) if together else {})
    exact, found = (answers(content, samples, range(10)) for content in (files[BASE], made))
    assert sqnr_db(exact, found) > FAITHFUL_DB


def test_files_that_are_equalized_alike_are_mixed_freely(files: dict[str, bytes], samples: Samples) -> None:
    splicer = Splicer({**files, "again": files["int8"]})
    choice = tuple("again" if k % 2 else "int8" for k in range(len(splicer.operations)))
    found, expected = (answers(one, samples, range(10)) for one in (splicer.splice(Mixture(choice)), files["int8"]))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_factors_that_cannot_be_true_are_refused(files: dict[str, bytes]) -> None:
    beyond = with_factors(files["dynamic"], {99: (1, 2)})
    assert Splicer({BASE: files[BASE], "dynamic": beyond}).left_out == {
        "dynamic": "it has factors of operations that it lacks"
    }
    last = len(Splicer(files).operations) - 1
    splicer = Splicer({BASE: files[BASE], "dynamic": with_factors(files["dynamic"], {last: (1, 2)})})
    with pytest.raises(EdgetfError, match="is an output of the model"):
        splicer.splice(Mixture(("dynamic",) * (last + 1)))
