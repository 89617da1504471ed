import pytest

from edgetf.errors import EdgetfError
from edgetf.schemes import SCHEMES, find_scheme


def test_the_table_has_the_schemes_that_the_readme_names() -> None:
    assert list(SCHEMES) == ["float32", "float16", "weights", "dynamic", "int8", "int8-io", "int16x8"]


def test_only_quantized_activations_need_samples() -> None:
    assert {name for name, scheme in SCHEMES.items() if scheme.needs_samples} == {"int8", "int8-io", "int16x8"}


def test_an_unknown_scheme_names_the_nearest() -> None:
    with pytest.raises(EdgetfError, match="unknown scheme 'int16'") as caught:
        find_scheme("int16")
    assert "did you mean 'int16x8'?" in caught.value.hint
