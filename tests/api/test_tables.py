"""What is printed about labels and noise, beside figures that others show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgetf.api.tables.benchmark import _COLUMNS, _optional_columns, _row, show_benchmark
from edgetf.api.tables.reference import show_reference
from edgetf.console.printing import to_text
from edgetf.results import Failure, LabelScore, LabelUse, Status, read_benchmark, read_reference

REASON = "labels of shape [200] are neither classes nor values of age, which has shape [200, 3]"
LINE = f"warning: labels of age are not used: {REASON}"


def test_a_reference_names_labels_that_it_ignores_beside_those_that_it_uses(reference: Path) -> None:
    [used] = read_reference(reference).labels
    ignored = LabelScore("age", LabelUse.IGNORED, REASON, None, None)
    for scores in ([used, ignored], [ignored, used], [ignored]):
        shown = to_text(lambda: show_reference(replace(read_reference(reference), labels=tuple(scores))))  # noqa: B023
        assert shown.count(LINE) == 1
        assert shown.count("On the labels, output_0: right on 100.00%") == scores.count(used)


def test_a_benchmark_names_labels_that_it_ignores_beside_those_that_it_uses(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    result = document.results[0]
    assert result.parity is not None
    age = replace(result.parity.outputs[0], name="age", labels=LabelUse.IGNORED, labels_reason=REASON)
    parity = replace(result.parity, outputs=(*result.parity.outputs, age))
    shown = to_text(lambda: show_benchmark(replace(document, results=(replace(result, parity=parity),) * 2)))
    assert shown.count(LINE) == 1
    assert "not used" not in to_text(lambda: show_benchmark(document))


def test_the_noise_in_the_table_is_the_one_that_is_judged(benchmarked: Path) -> None:
    document = read_benchmark(benchmarked)
    result = document.results[0]
    assert result.parity is not None
    output = replace(result.parity.outputs[0], sqnr_db=77.7, centred_db=22.2, agreement=None, accuracy=None, columns=())
    changed = replace(result, parity=replace(result.parity, outputs=(output,)))
    shown = to_text(lambda: show_benchmark(replace(document, results=(changed,))))
    assert "22.2" in shown
    assert "77.7" not in shown


def test_the_columns_that_a_narrow_terminal_leaves_out_keep_a_distance_from_the_reference(benchmarked: Path) -> None:
    result = read_benchmark(benchmarked).results[0]
    assert result.parity is not None
    every = [column.name for column in _COLUMNS if column.is_optional][::-1]
    assert {"agreement", "SQNR dB"} <= set(every)
    assert _optional_columns([_row(result)]) == every  # its drop stays
    bare = replace(result.parity.outputs[0], accuracy=None, agreement=None)
    noise = replace(result, parity=replace(result.parity, outputs=(bare,)))
    assert _optional_columns([_row(noise)]) == [name for name in every if name != "SQNR dB"]


def test_a_variant_that_did_not_run_has_its_size_only(benchmarked: Path) -> None:
    result = read_benchmark(benchmarked).results[0]
    error = Failure("run", "it does not run", "")
    row = _row(replace(result, status=Status.FAILED, error=error, latency_ms=None, parity=None))
    known = dict(zip((column.name for column in _COLUMNS), row, strict=True))
    assert {name for name, cell in known.items() if cell} == {"variant", "verdict", "size"}
    assert "FAILED" in known["verdict"]
