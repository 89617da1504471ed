from pathlib import Path

import pytest

from edgetf.errors import EdgetfError
from edgetf.schemes import SCHEMES, Scheme, find_scheme


def test_the_table_has_the_schemes_that_the_readme_names() -> None:
    assert f"variants: {', '.join(SCHEMES)} |" in (Path(__file__).parents[1] / "README.md").read_text()


def test_the_schemes_whose_summary_asks_for_samples_are_those_that_need_them() -> None:
    assert [scheme.needs_samples for scheme in SCHEMES.values()] == [
        "needs samples" in scheme.summary for scheme in SCHEMES.values()
    ]


def test_an_unknown_scheme_names_the_nearest() -> None:
    with pytest.raises(EdgetfError, match="unknown scheme 'int16'") as caught:
        find_scheme("int16")
    assert "did you mean 'int16x8'?" in caught.value.hint


@pytest.mark.parametrize(
    ("weights", "activations", "io", "message"),
    [
        ("float16", "int8", "float32", "int8 activations with float16"),
        ("int8", "int16", "int8", "int16 activations with inputs and outputs of int8"),
        ("int8", "int8", "int16", "int8 activations with inputs and outputs of int16"),
    ],
)
def test_a_combination_that_no_converter_makes_is_refused(
    weights: str, activations: str, io: str, message: str
) -> None:
    with pytest.raises(ValueError, match=f"new: no converter combines {message}"):
        Scheme("new", weights, activations, io, 20.0, "")


def test_constants_that_are_unpacked_leave_inputs_and_outputs_in_float() -> None:
    with pytest.raises(ValueError, match="float32 activations with inputs and outputs of int8"):
        Scheme("new", "int8", "float32", "int8", 20.0, "", unpacks=True)


def test_tune_mixes_no_scheme_that_differs_from_another_by_its_inputs_and_outputs_only() -> None:
    for scheme in SCHEMES.values():
        same = [
            one for one in SCHEMES.values() if (one.weights, one.activations) == (scheme.weights, scheme.activations)
        ]
        assert bool(scheme.untuned) == (scheme.io != "float32" and len(same) > 1), scheme.name
