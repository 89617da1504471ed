from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf.device.runner.manifest import BUNDLE_SCHEMA, GoldenOutput, Manifest, Provenance, parse_manifest

_MANIFEST = Manifest(
    schema=BUNDLE_SCHEMA,
    variant="int8",
    scheme="int8",
    signature="serving_default",
    model="model.tflite",
    inputs={"x": "input-0.npy"},
    outputs=[GoldenOutput("y", "output-0.npy", None, 0.01)],
    unbatched_inputs=[],
    unbatched_outputs=[],
    labels=None,
    preprocessing="",
    postprocessing="",
    files={"model.tflite": "1" * 64, "input-0.npy": "2" * 64, "output-0.npy": "3" * 64},
    budgets={"max_drop": 1.0, "max_bytes": None},
    provenance=Provenance("1", "2026", "4", "5", "6", "pi", "litert", "pass", "accuracy drop 0", 1.5),
)
_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda one: st.lists(one, max_size=2))


def test_a_manifest_is_read_as_it_was_written_and_unknown_keys_are_left_out() -> None:
    fields = json.loads(_MANIFEST.to_json())
    fields["new"] = fields["provenance"]["new"] = fields["outputs"][0]["new"] = 1
    assert parse_manifest(json.dumps(fields).encode()) == _MANIFEST


@pytest.mark.parametrize("schema", [1, 4, "2", None])
def test_another_schema_is_named(schema: Any) -> None:
    with pytest.raises(ValueError, match=f"has schema {schema!r}, this version reads 2 and {BUNDLE_SCHEMA}"):
        parse_manifest(replace(_MANIFEST, schema=schema).to_json().encode())


def test_each_file_that_it_uses_needs_a_digest() -> None:
    for name in _MANIFEST.files:
        fewer = {file: digest for file, digest in _MANIFEST.files.items() if file != name}
        with pytest.raises(ValueError, match="not whole"):
            parse_manifest(replace(_MANIFEST, files=fewer).to_json().encode())


@pytest.mark.parametrize("key", list(json.loads(_MANIFEST.to_json())))
def test_without_one_of_its_keys_it_is_not_whole(key: str) -> None:
    fields = json.loads(_MANIFEST.to_json())
    del fields[key]
    with pytest.raises(ValueError, match="manifest"):
        parse_manifest(json.dumps(fields).encode())


@given(key=st.sampled_from(list(json.loads(_MANIFEST.to_json()))), value=_JSON)
def test_any_value_is_refused_with_a_value_error_or_is_of_the_stated_type(key: str, value: Any) -> None:
    fields = json.loads(_MANIFEST.to_json()) | {key: value}
    with contextlib.suppress(ValueError):
        found = parse_manifest(json.dumps(fields).encode())
        assert isinstance(getattr(found, key), (str, list, dict, int, Provenance, type(None)))
        assert found == _MANIFEST or getattr(found, key) == value


def test_a_manifest_of_the_schema_without_pixels_is_read() -> None:
    fields = json.loads(_MANIFEST.to_json())
    del fields["pixels"]
    assert parse_manifest(json.dumps({**fields, "schema": 2}).encode()) == replace(_MANIFEST, schema=2)


@pytest.mark.parametrize(
    "pixels",
    [
        {"image": {"mean": ["1"], "std": [1.0]}},
        {"image": {"mean": [10**400], "std": [1.0]}},
        {"image": {"mean": [1.0]}},
        [1],
    ],
)
def test_pixels_that_are_no_map_are_refused(pixels: Any) -> None:
    with pytest.raises(ValueError, match="its manifest"):
        parse_manifest(json.dumps({**json.loads(_MANIFEST.to_json()), "pixels": pixels}).encode())
