"""What the demo hands on to the steps that it runs; that it runs is tested in test_commands.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgetf.benchmarks.reference import make
from edgetf.benchmarks.reference.options import ReferenceOptions
from edgetf.conversion import convert
from edgetf.errors import EdgetfError
from edgetf.results import LabelsAre
from tests.conftest import Run, Small


def test_options_for_a_model_of_the_user_reach_conversion_and_reference(
    small: Small, edgetf_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def fake_convert(model: Path, out: Path, options: convert.ConvertOptions, on_event: object) -> Any:
        asked["convert"] = options
        return SimpleNamespace(source=SimpleNamespace(path="saved_model"))

    def fake_reference(model: Path, samples: object, out: Path, options: ReferenceOptions, on_event: object) -> Any:
        asked["reference"] = options
        raise EdgetfError("enough", "stop")

    monkeypatch.setattr(convert, "convert", fake_convert)
    monkeypatch.setattr(make, "make_reference", fake_reference)
    options = ("--signature", "a", "--labels-are", "value", "--allow-nan", "--trust")
    ended = edgetf_here("demo", "--model", small.keras_file, "--samples", small.samples, "-o", "d", *options)
    assert "enough" in ended.stderr
    assert asked["reference"] == ReferenceOptions(
        signature="a", labels_are=LabelsAre.VALUE, allow_nan=True, trust=True, force=False
    )
    converted = asked["convert"]
    assert (converted.signature, converted.allow_nan, converted.trust) == ("a", True, True)


@pytest.mark.parametrize("option", [("--labels-are", "class"), ("--allow-nan",), ("--signature", "a")])
def test_options_for_a_model_of_the_user_are_refused_for_one_of_the_zoo(
    option: tuple[str, ...], edgetf_here: Run
) -> None:
    ended = edgetf_here("demo", "--model", "cnn", *option)
    assert ended.returncode == 2
    assert "are for your own file" in ended.stderr
