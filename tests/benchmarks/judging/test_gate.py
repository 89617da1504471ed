from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgetf.benchmarks.judging.gate import _short_names, judge_gate, load_gate, to_junit, to_markdown
from edgetf.errors import EdgetfError
from edgetf.results import Benchmark, Verdict, read_benchmark
from tests.conftest import Run, Small

BUDGETS = """
variants = ["float32", "int8"]
[budgets]
max_drop = 50
max_bytes = 100_000
max_latency_ms = { local = 1000.0 }
[budgets.of.int8]
max_bytes = 10
"""


@pytest.fixture
def document(benchmarked: Path) -> Benchmark:
    return read_benchmark(benchmarked)


def _file(tmp_path: Path, text: str) -> Path:
    (tmp_path / "budget.toml").write_text(text)
    return tmp_path / "budget.toml"


def test_each_variant_is_judged_by_its_own_budgets(document: Benchmark, tmp_path: Path) -> None:
    float32, int8 = judge_gate(load_gate(_file(tmp_path, BUDGETS)), [document])
    assert (float32.variant, float32.parts["size"].verdict) == ("float32", Verdict.PASS)
    assert (int8.variant, int8.parts["size"].verdict) == ("int8", Verdict.FAIL)
    assert "accuracy drop" in int8.parts["parity of output_0"].reason
    assert (
        "budget 50" in int8.parts["parity of output_0"].reason
    )  # budgets that it does not set are those of all variants
    assert set(int8.parts) == {"parity of output_0", "latency", "size"}


def test_a_variant_that_was_not_measured_is_a_failure(document: Benchmark, tmp_path: Path) -> None:
    gate = load_gate(_file(tmp_path, BUDGETS.replace("local", "pi").replace('"int8"]', '"int8", "int4"]')))
    missing = {(one.variant, one.device): one for one in judge_gate(gate, [document]) if "measured" in one.parts}
    assert set(missing) == {("float32", "pi"), ("int8", "pi"), ("int4", "pi")}
    assert all(one.verdict is Verdict.FAIL for one in missing.values())
    reasons = {pair: one.parts["measured"].reason for pair, one in missing.items()}
    assert reasons["int8", "pi"] == "it was not measured on pi: known: local"
    assert reasons["int4", "pi"].startswith("it was not measured on pi: did you mean 'int8'? known: ")
    on_pi = replace(document, results=tuple(replace(r, device="pi") for r in document.results))
    found = judge_gate(gate, [document, on_pi])
    assert {(one.variant, one.device) for one in found if "measured" in one.parts} == {("int4", "pi")}
    assert {one.device for one in found} == {"local", "pi"}


def test_a_requested_agreement_is_judged_and_is_inconclusive_without_a_reference(
    document: Benchmark, tmp_path: Path
) -> None:
    gate = load_gate(_file(tmp_path, "[budgets]\nmin_agreement = 0.999\nmax_bytes = 1_000_000\n"))
    int8 = next(one for one in judge_gate(gate, [document]) if one.variant == "int8")
    assert int8.parts["agreement of output_0"].verdict is not Verdict.PASS  # 200 samples do not show 99.9 %
    alone = replace(document, reference=None, results=tuple(replace(r, parity=None) for r in document.results))
    assert all(one.verdict is Verdict.INCONCLUSIVE for one in judge_gate(gate, [alone]))
    elsewhere = load_gate(_file(tmp_path, "[budgets]\nmax_latency_ms = { pi = 20.0 }\n"))
    assert {one.verdict for one in judge_gate(elsewhere, [alone])} == {Verdict.INCONCLUSIVE, Verdict.FAIL}


def test_a_latency_budget_of_one_variant_keeps_those_of_other_devices(document: Benchmark, tmp_path: Path) -> None:
    text = "[budgets]\nmax_latency_ms = { pi = 20.0 }\n[budgets.of.int8]\nmax_latency_ms = { local = 1e-6 }\n"
    gate = load_gate(_file(tmp_path, text))
    assert gate.for_variant("int8").latency_ms == {"pi": 20.0, "local": 1e-6}
    found = [one for one in judge_gate(gate, [document]) if one.variant == "int8"]
    assert {(one.device, "measured" in one.parts) for one in found} == {("local", False), ("pi", True)}


def test_a_latency_is_judged_on_the_device_that_it_is_set_for(document: Benchmark, tmp_path: Path) -> None:
    gate = load_gate(_file(tmp_path, "[budgets]\nmax_latency_ms = { pi = 0.001 }\nmax_memory_bytes = 1\n"))
    [float32, *_] = judge_gate(gate, [document])
    assert "latency" not in float32.parts
    assert float32.parts["memory"].verdict is Verdict.FAIL
    emulated = replace(document.results[0], device="pi", emulated=True)
    [judged, *_] = judge_gate(gate, [replace(document, results=(emulated,))])
    assert judged.parts["latency"].verdict is Verdict.INCONCLUSIVE
    assert judged.parts["memory"].verdict is Verdict.INCONCLUSIVE


def _of_model(document: Benchmark, path: str, digest: str) -> Benchmark:
    assert document.reference is not None
    source = replace(document.reference.source, path=path, digest=digest)
    return replace(document, reference=replace(document.reference, source=source))


def test_variants_of_several_models_are_judged_by_model(document: Benchmark, tmp_path: Path) -> None:
    gate = load_gate(_file(tmp_path, 'variants = ["int8"]\n[budgets]\nmax_bytes = 1_000_000\n'))
    one = _of_model(document, "/models/one/saved_model", "1" * 64)
    without = tuple(result for result in document.results if result.variant != "int8")
    other = replace(_of_model(document, "/models/other/saved_model", "2" * 64), results=without)
    found = judge_gate(gate, [one, other])
    assert [(c.model, c.variant, "measured" in c.parts) for c in found] == [
        ("one/saved_model", "int8", False),
        ("other/saved_model", "int8", True),
    ]
    assert all(line.count(" | ") == 5 for line in to_markdown(found).splitlines() if line.startswith("| "))
    assert b'classname="one/saved_model.local.int8"' in to_junit(found)


def test_a_benchmark_without_a_reference_is_of_the_model_whose_file_it_measured(
    document: Benchmark, tmp_path: Path
) -> None:
    gate = load_gate(_file(tmp_path, 'variants = ["int8"]\n[budgets]\nmax_latency_ms = { local = 1e6, pi = 1e6 }\n'))
    on_pi = tuple(replace(result, device="pi", parity=None) for result in document.results)
    found = judge_gate(gate, [document, replace(document, reference=None, results=on_pi)])
    assert {(c.model, c.device) for c in found} == {("", "local"), ("", "pi")}
    assert not any("measured" in c.parts for c in found)


def test_models_with_the_same_path_have_different_names(document: Benchmark, tmp_path: Path) -> None:
    gate = load_gate(_file(tmp_path, "[budgets]\nmax_bytes = 1_000_000\n"))
    found = judge_gate(gate, [_of_model(document, "m", "1" * 64), _of_model(document, "m", "2" * 64)])
    assert {c.model for c in found} == {"m (11111111)", "m (22222222)"}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("budgets = 3", "sets no budgets", "max_drop"),
        ("[budgets]\nof = 5", "budgets.of = 5 names no variant", "budgets.of.int8"),
        ("[budgets]\nmax_dropp = 1", "unknown key 'budgets.max_dropp'", "did you mean 'max_drop'"),
        ("[budget]\nmax_drop = 1", "unknown key 'budget'", "did you mean 'budgets'"),
        ("for = 'size'\n[models.m]\n[budgets]\nmax_drop = 1", "is a plan of `edgetf run`", "or give a file with [bud"),
        ("[budgets]\nmax_drop = '1'", "budgets.max_drop = '1' is not a number", ""),
        ("[budgets]\nmin_agreement = 98", "min_agreement is a share", "0.98"),
        ("[budgets]\nmin_delegated = 95", "min_delegated is a share", "0.98"),
        ("[budgets]\nmax_partitions = 0", "max_partitions = 0 is not a number of pieces", "write 1"),
        ("[budgets]\nmax_partitions = 1.5", "max_partitions = 1.5 is not a number of pieces", "write 1"),
        ("[budgets]\nmax_drop = nan", "is not a number of at least 0", ""),
        ("[budgets]\nmax_bytes = -1", "is not a number of at least 0", ""),
        ("[budgets]\nmax_latency_ms = 5.0", "names no device", "max_latency_ms = { local = 5.0 }"),
        ("[budgets.of.int8]\nmax = 1", "unknown key 'budgets.of.int8.max'", ""),
        ("variants = 'int8'\n[budgets]\nmax_drop = 1", "is not a list of names", ""),
        (
            "variants = ['good']\n[budgets]\n[budgets.of.bad]\nmax_drop = 1",
            "[budgets.of.bad] is for a variant that `variants` does not name",
            "add 'bad' to variants",
        ),
        ("[budgets", "cannot read", "edgetf gate --help"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(EdgetfError) as caught:
        load_gate(_file(tmp_path, text))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_reports_have_every_verdict(document: Benchmark, tmp_path: Path) -> None:
    checked = judge_gate(load_gate(_file(tmp_path, BUDGETS)), [document])
    suite = ElementTree.fromstring(to_junit(checked)).find("testsuite")
    assert suite is not None
    cases = {(case.get("classname"), case.get("name")): case.find("failure") for case in suite.iter("testcase")}
    assert len(cases) == sum(len(one.parts) for one in checked) == int(suite.get("tests", "0"))
    failure = cases["local.int8", "size"]
    assert failure is not None
    assert (failure.get("type"), "budget 10" in str(failure.get("message"))) == ("fail", True)
    assert cases["local.float32", "size"] is None
    assert int(suite.get("failures", "0")) == sum(failure is not None for failure in cases.values())
    table = to_markdown(checked)
    assert "| int8 | local | size | ❌ FAIL |" in table
    assert all(line.count(" | ") == 4 for line in table.splitlines() if line.startswith("| "))


def test_the_command_writes_the_reports_and_returns_the_exit_code(
    benchmarked: Path, tmp_path: Path, edgetf: Run
) -> None:
    budgets = _file(tmp_path, BUDGETS)
    for _ in range(2):
        ended = edgetf("gate", budgets, benchmarked, "--junit", "gate.xml", "--summary", "summary.md")
        assert ended.returncode == 3
        assert "budget 10" in ended.stdout
    assert (tmp_path / "summary.md").read_text().count("## edgetf gate") == 2  # appended, as CI systems want it
    ElementTree.parse(tmp_path / "gate.xml")
    lenient = _file(tmp_path, "[budgets]\nmax_bytes = 1_000_000\nmax_drop = 100\n")
    ended = edgetf("gate", lenient, benchmarked, "--json")
    assert ended.returncode == 0, ended.stdout
    assert json.loads(ended.stdout)["exit_code"] == 0


@pytest.mark.slow
def test_the_workflow_for_github_works_as_written(small: Small, tmp_path: Path) -> None:
    """Its `run` lines, in order, in a folder as it expects; GitHub's own steps are left out."""
    workflow = (Path(__file__).parents[3] / "docs" / "github-actions.yml").read_text()
    commands = re.findall(r"^ *(?:- )?run: (edgetf .*)$", workflow, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["convert", "reference", "benchmark", "gate", "report"]
    shutil.copytree(small.saved_model, tmp_path / "saved_model")
    for name in ("train.npz", "test.npz"):
        shutil.copy(small.samples, tmp_path / name)
    _file(tmp_path, 'variants = ["int8"]\n[budgets]\nmax_drop = 100\nmax_latency_ms = { local = 1000.0 }\n')
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    for command in commands:
        ended = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"  # also on a busy machine
    assert "| int8 | local |" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "gate.xml").is_file()
    assert (tmp_path / "report.html").is_file()


def test_a_model_without_a_name_is_named_after_its_path() -> None:
    assert _short_names({"0123456789ab": ".", "ba9876543210": ""}) == {
        "0123456789ab": ". (01234567)",
        "ba9876543210": ". (ba987654)",
    }
