from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetf import files
from edgetf.errors import EdgetfError
from edgetf.results import (
    BENCHMARK_SCHEMA,
    CONVERSION_SCHEMA,
    REFERENCE_SCHEMA,
    Benchmark,
    Conversion,
    Reference,
    read_benchmark,
    read_conversion,
    read_reference,
)


def test_documents_of_a_real_run_read_back_unchanged(
    converted: Path, reference: Path, benchmarked: Path, tmp_path: Path
) -> None:
    for read, place, name in (
        (read_conversion, converted, "conversion.json"),
        (read_reference, reference, "reference.json"),
        (read_benchmark, benchmarked, "benchmark.json"),
    ):
        document = read(place)
        assert read(place / name) == document
        assert files.to_text(document) == (place / name).read_text()


@pytest.mark.parametrize(
    ("kind", "schema"),
    [(Conversion, CONVERSION_SCHEMA), (Reference, REFERENCE_SCHEMA), (Benchmark, BENCHMARK_SCHEMA)],
)
def test_every_document_starts_with_its_schema(kind: type, schema: int) -> None:
    assert next(iter(kind.__dataclass_fields__)) == "schema"  # type: ignore[attr-defined]
    assert schema >= 1


def test_a_conversion_of_the_schema_without_pixels_is_read(converted: Path, tmp_path: Path) -> None:
    document = json.loads((converted / "conversion.json").read_text())
    for variant in document["variants"]:
        del variant["pixels"]
    (tmp_path / "conversion.json").write_text(json.dumps({**document, "schema": 2}))
    assert read_conversion(tmp_path) == read_conversion(converted)


def test_a_benchmark_of_the_schema_without_coverage_is_read(benchmarked: Path, tmp_path: Path) -> None:
    document = json.loads((benchmarked / "benchmark.json").read_text())
    assert all(result["coverage"]["operations"] for result in document["results"])
    for result in document["results"]:
        del result["coverage"]
        for op in result["ops"]:
            del op["layer"], op["delegated"], op["estimated"]
    (tmp_path / "benchmark.json").write_text(json.dumps({**document, "schema": 5}))
    older = read_benchmark(tmp_path)
    assert older.schema == BENCHMARK_SCHEMA
    assert [result.coverage for result in older.results] == [None] * len(older.results)
    assert [result.latency_ms for result in older.results] == [
        result.latency_ms for result in read_benchmark(benchmarked).results
    ]


def test_the_error_for_a_missing_document_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match=r"there is no reference\.json at") as caught:
        read_reference(tmp_path)
    assert "edgetf reference" in caught.value.hint
