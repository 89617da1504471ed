"""Measurements are read as they were stored, also those of the schemas before this one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgetf.device.measurements import read_measurement
from edgetf.device.runner.job import (
    MEASUREMENT_SCHEMA,
    Coverage,
    LeftOperations,
    Measurement,
    OpTime,
    TimeSummary,
    to_json,
)
from edgetf.errors import DeviceError

SUMMARY = TimeSummary(10, 2e6, 1e5, 1.9e6, 2.1e6, 2e6)
MEASUREMENT = Measurement(MEASUREMENT_SCHEMA, "benchmark_model", "2.17", "", "", {}, {}, {}, threads=1, summary=SUMMARY)


def _stored(measurement: Measurement, folder: Path, schema: int, key: str) -> Path:
    """`measurement` in `folder`, with this schema and this key for the summary."""
    plain = json.loads(to_json(measurement))
    plain = {key if name == "summary" else name: value for name, value in plain.items()}
    (folder / "measurement.json").write_text(json.dumps({**plain, "schema": schema}))
    return folder


@pytest.mark.parametrize("summary", [SUMMARY, None])
@pytest.mark.parametrize(("schema", "key"), [(MEASUREMENT_SCHEMA, "summary"), (3, "told")])
def test_a_summary_is_read_from_this_schema_and_the_one_before(
    tmp_path: Path, schema: int, key: str, summary: TimeSummary | None
) -> None:
    measurement = replace(MEASUREMENT, summary=summary)
    assert read_measurement("phone", _stored(measurement, tmp_path, schema, key)) == measurement


COVERAGE = Coverage(10, 9, 2, [LeftOperations("SOFTMAX", 1, "", 0.1)], 12, "XNNPACK", False, "nodes")


def test_a_measurement_of_the_schema_without_coverage_is_read(tmp_path: Path) -> None:
    plain = json.loads(to_json(MEASUREMENT))
    plain = {name: value for name, value in plain.items() if name not in ("coverage", "unknown")}
    (tmp_path / "measurement.json").write_text(json.dumps({**plain, "schema": 4}))
    assert read_measurement("phone", tmp_path) == MEASUREMENT
    known = replace(MEASUREMENT, coverage=COVERAGE, ops=[OpTime("SOFTMAX", "s", 0.1, 1.0)])
    assert read_measurement("phone", _stored(known, tmp_path, MEASUREMENT_SCHEMA, "summary")) == known


@pytest.mark.parametrize(
    "impossible",
    [
        {"delegated": 11},
        {"partitions": -1},
        {"delegated": 8},
        {"left": [LeftOperations("SOFTMAX", 1, "", 1.5)]},
        {"source": "hearsay"},
    ],
)
def test_an_impossible_coverage_is_refused(tmp_path: Path, impossible: dict[str, Any]) -> None:
    measurement = replace(MEASUREMENT, coverage=replace(COVERAGE, **impossible))
    with pytest.raises(DeviceError, match="coverage"):
        read_measurement("phone", _stored(measurement, tmp_path, MEASUREMENT_SCHEMA, "summary"))


@pytest.mark.parametrize(
    ("schema", "key", "problem"),
    [
        (MEASUREMENT_SCHEMA, "told", "unknown key 'told'"),
        (2, "told", "has schema 2"),
        (MEASUREMENT_SCHEMA + 1, "summary", f"has schema {MEASUREMENT_SCHEMA + 1}"),
    ],
)
def test_any_other_schema_is_refused(tmp_path: Path, schema: int, key: str, problem: str) -> None:
    with pytest.raises(DeviceError, match=problem):
        read_measurement("phone", _stored(MEASUREMENT, tmp_path, schema, key))


@pytest.mark.parametrize(("schema", "key"), [(MEASUREMENT_SCHEMA, "summary"), (3, "told")])
def test_an_impossible_summary_is_refused_in_both_schemas(tmp_path: Path, schema: int, key: str) -> None:
    impossible = replace(MEASUREMENT, summary=replace(SUMMARY, n=0))
    with pytest.raises(DeviceError, match="summary has inconsistent values"):
        read_measurement("phone", _stored(impossible, tmp_path, schema, key))
