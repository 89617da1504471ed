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


def test_a_combination_that_no_converter_makes_is_refused() -> None:
    with pytest.raises(ValueError, match="int8 activations with float16"):
        Scheme("half-int8", "float16", "int8", "float32", 20.0, "")
