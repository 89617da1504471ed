"""The scripts that measure edgetf, with tiny sizes: they run, and their figures are of what they say they are.

Those of large inputs are in test_load.py, some others with what they measure; that each has a test is tested here. The
network of the fixtures takes the place of MobileNetV2 and others, which take longer to make than to measure.
"""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgetf
from edgetf.api.results import Bench, PinnedReference, Variants
from edgetf.api.verdicts import Tuned
from edgetf.files import write_document
from edgetf.models.training import TRAINING_SCHEMA, Training
from edgetf.recipes import Ending
from edgetf.results import read_benchmark, read_conversion, read_reference
from tests.conftest import Small
from tests.performance import (
    conversion,
    ending,
    mistakes,
    other_tuners,
    parity,
    repeatability,
    resume,
    runner,
    sequential,
    tuned_models,
    turns,
    zoo,
)
from tests.tuning.made_tuning import made_tuning

FOLDER = Path(__file__).parent / "performance"
Argv = Callable[..., None]


@pytest.fixture
def argv(monkeypatch: pytest.MonkeyPatch) -> Argv:
    """Sets the arguments of a script."""

    def give(*words: object) -> None:
        monkeypatch.setattr(sys, "argv", ["script", *map(str, words)])

    return give


def _imported(path: Path) -> set[str]:
    """The names of the scripts that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "tests.performance":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module.removeprefix("tests.performance.")} & {one.stem for one in FOLDER.glob("*.py")}
    return found


def test_every_script_is_run_by_a_test() -> None:
    scripts = {path.stem for path in FOLDER.glob("[!_]*.py")}
    tests = [path for path in Path(__file__).parent.rglob("test_*.py") if FOLDER not in path.parents]
    run = set().union(*map(_imported, tests))
    assert not scripts - run


def test_both_sides_convert_by_all_schemes(small: Small, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(small.saved_model)
    np.savez(tmp_path / "samples.npz", x=np.load(small.samples)["image"][:16])
    sides = conversion.official(tmp_path), conversion.ours(tmp_path)
    for side in sides:
        assert set(conversion.SCHEMES) <= set(side["seconds"])
        assert min(side["seconds"].values()) > 0
        assert side["peak_bytes"] > 1 << 20
    assert sides[1]["inferences_s"] > 0
    assert conversion.to_table(*sides).row_count == len(conversion.SCHEMES) + 7


def test_a_benchmark_is_timed_with_its_turns(
    converted: Path, tmp_path: Path, argv: Argv, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(converted / "int8.tflite", tmp_path)
    argv(tmp_path, "--others", 1, "--runs", 1)
    ending.main()
    assert "int8 2" in capsys.readouterr().out


def test_mistakes_are_run_one_by_one(
    small: Small, converted: Path, reference: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    argv: Argv,
) -> None:  # fmt: skip
    made = mistakes.Made(small.saved_model, small.keras_file, small.samples, converted, reference)
    all_of_them = mistakes.mistakes
    monkeypatch.setattr(mistakes, "_make", lambda folder: made)
    monkeypatch.setattr(mistakes, "mistakes", lambda given, folder: all_of_them(given, folder)[1:2])
    argv()
    mistakes.main()
    printed = capsys.readouterr().out
    assert "edgetf convert saved_model -o out --samples name.npz" in printed
    assert printed.splitlines()[-2].rstrip("│ ").endswith("no")


def test_other_tuners_judge_what_they_make(small: Small, converted: Path, reference: Path, tmp_path: Path) -> None:
    found = other_tuners.revert_one_by_one(converted, reference, str(small.samples), tmp_path)
    assert found.evaluations >= 1
    assert found.path.is_file() == (not found.problem)
    images = np.load(small.samples)["image"]
    made = other_tuners.quantize_by_recipes(converted / "float32.tflite", {"image": images}, tmp_path)
    assert [one.path.stem for one in made] in ([], list(other_tuners.RECIPES))  # none if the package is not installed


def test_parity_and_the_loop_by_hand_have_the_same_samples(
    small: Small, converted: Path, reference: Path, tmp_path: Path
) -> None:
    images = np.load(small.samples)["image"]
    n = len(images)
    np.savez(tmp_path / f"{n}.npz", x=images)
    (tmp_path / "out").symlink_to(converted)
    (tmp_path / f"ref-{n}").symlink_to(reference)
    ours, naive = parity.ours(tmp_path, n), parity.naive(tmp_path, n)
    for side in (ours, naive):
        assert side["all_s"] >= side["pass_s"] > 0
    assert ours["mb"] > 10
    assert ours["statistics_s"] < ours["all_s"]
    assert naive["same"] > 0.8


def _copy_session(bench: Path, out: Path, factor: float) -> None:
    """The folder of another session, whose blocks took `factor` of the time."""
    document = read_benchmark(bench)
    [result] = document.results
    blocks = tuple(replace(block, median_ms=block.median_ms * factor) for block in result.blocks)
    out.mkdir()
    write_document(out / "benchmark.json", replace(document, results=(replace(result, blocks=blocks),)))


def test_sessions_of_both_tools_are_compared(
    converted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: Argv
) -> None:
    """One session of each is measured, and counts with other medians as the further ones."""

    def once(run: Callable[[Path, Path], float]) -> Callable[[Path, Path], float]:
        known: list[Path] = []
        medians: list[float] = []

        def session(variant: Path, out: Path) -> float:
            if not known:
                medians.append(run(variant, out) or 0.001)  # one tool rounds to a hundredth
            elif known[0].is_dir():
                _copy_session(known[0], out, 1 + 0.01 * len(known))
            known.append(out)
            return medians[0] * (1 + 0.01 * len(known))

        return session

    sides = {side: once(run) for side, run in repeatability.SIDES.items()}
    monkeypatch.setattr(repeatability, "SIDES", sides)
    monkeypatch.setattr(repeatability, "_make_variant", lambda folder: converted / "float32.tflite")
    argv("--sessions", 4, "--others", 1)
    repeatability.main()
    printed = capsys.readouterr().out
    assert all(side in printed for side in sides)
    assert "Pairs of sessions that are called different" in printed


def test_a_finished_plan_is_run_again(
    argv: Argv, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EDGETF_CACHE", "EDGETF_HISTORY"):
        monkeypatch.setenv(name, "")  # the script sets them: they are those of the tests again afterwards
    argv(1)
    resume.main()
    assert "{'stored': 5, 'not_needed': 1}" in capsys.readouterr().out.replace("\n", " ")


def test_the_runner_and_a_loop_by_hand_measure_the_same_variant(
    small: Small, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.load(small.samples)["image"]
    monkeypatch.setattr(runner, "ROUNDS", 1)
    monkeypatch.setattr(runner, "RUNS", 50)
    variant = converted / "float32.tflite"
    for found in (
        runner.compare_medians(variant, "image", images, tmp_path),
        runner.compare_passes(variant, "image", images, tmp_path),
    ):
        assert min(found) > 0


def test_simulations_print_their_rates(argv: Argv, capsys: pytest.CaptureFixture[str]) -> None:
    argv(5)
    sequential.main()
    assert "of 5 got a verdict (at most 5 %)" in capsys.readouterr().out
    argv(2)
    turns.main()
    assert "of the budget" in capsys.readouterr().out


def test_the_table_of_tuned_models_has_what_was_made(
    small: Small, converted: Path, reference: Path, benchmarked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verbs themselves take minutes: their results are those of the fixtures, and tests/tuning tunes."""
    case = tuned_models.Case("cnn", small.saved_model, small.samples, tmp_path / "cnn" / "search.npz", small.samples)
    case.search.parent.mkdir()
    (case.search.parent / "out").symlink_to(converted)
    tuning = replace(made_tuning(read_reference(reference).samples), ending=Ending.TUNED)
    bench = read_benchmark(benchmarked)
    tuned = [replace(bench.results[0], variant=f"tuned-{aim}") for aim in ("size", "latency")]
    made: dict[str, Any] = {
        "convert": Variants(converted, read_conversion(converted)),
        "reference": PinnedReference(reference, read_reference(reference)),
        "tune": Tuned(tmp_path, tuning),
        "benchmark": Bench(benchmarked, {"local": (benchmarked, replace(bench, results=(*bench.results, *tuned)))}),
    }
    shutil.copy(converted / "int8.tflite", tmp_path / "tuned.tflite")
    for name, result in made.items():
        monkeypatch.setattr(edgetf, name, lambda *given, result=result, **more: result)
    monkeypatch.setattr(tuned_models, "quantize_by_recipes", lambda *given: [])
    monkeypatch.setattr(
        tuned_models, "revert_one_by_one", lambda *given: other_tuners.Other(tmp_path / "n", 3, 1.0, "no")
    )
    monkeypatch.setattr(tuned_models, "WORK", tmp_path)
    rows = json.loads(json.dumps(tuned_models.measure(case)))
    table = tuned_models.table({"cnn": rows})
    assert "| cnn | int8 |" in table
    assert "| cnn | tuned-size |" in table
    assert "took" in tuned_models.summary({"cnn": rows})


def test_the_page_of_the_zoo_has_each_variant(
    benchmarked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training and the verbs take minutes, and have their own tests."""
    shutil.copytree(benchmarked, tmp_path / "cnn")
    training = Training(TRAINING_SCHEMA, "0", "", "cnn", 1.0, {"test_accuracy": 0.9}, 10, 10, {})
    (tmp_path / "cnn" / "model").mkdir()
    write_document(tmp_path / "cnn" / "model" / "training.json", training)
    (tmp_path / "cnn" / "spent.json").write_text('{"wall_s": 1.0, "cpu_s": 2.0}')
    monkeypatch.setattr(zoo, "WORK", tmp_path)
    page = zoo.page(["cnn"])
    for result in read_benchmark(benchmarked).results:
        assert f"| cnn | {result.scheme} |" in page
