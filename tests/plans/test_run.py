"""`edgetf run`: from a model to a proven file; nothing twice; a failed step stops only what stands on it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgetf
from edgetf.errors import Cause, EdgetfError, ExitCode
from edgetf.events import Event
from edgetf.files import sha256_file
from edgetf.plans.ran import Ran
from edgetf.plans.record import Because, RunRecord, State, Verb
from edgetf.results import Verdict, read_benchmark
from tests.conftest import Run, Small

pytestmark = pytest.mark.slow
MODEL = """
[models.{name}]
path = "{model}"
samples = "{samples}"
test = "{test}"
schemes = ["float32", "int8"]
"""
OPTIONS = "\n[tuning]\nwhen = 'never'\n[options]\nblocks = 2\non = 'cpu'\n[budgets]\nmax_drop = 6.0\n"


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One store for all tests of this module: what one has made, another takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGETF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def lab(small: Small, unseen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its samples, and a plan for it."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(small.saved_model, folder / "net")
    shutil.copyfile(small.samples, folder / "train.npz")
    shutil.copyfile(unseen.parent / "samples.npz", folder / "test.npz")
    text = MODEL.format(name="net", model="net", samples="train.npz", test="test.npz")
    (folder / "edgetf.toml").write_text('for = "size"\n' + text + OPTIONS)
    return folder


@pytest.fixture(scope="module")
def shipped(lab: Path) -> Ran:
    return edgetf.run(lab / "edgetf.toml", on_event=_ignore)


def _ignore(event: Event) -> None:
    pass


def _states(document: RunRecord, name: str = "net") -> dict[str, State]:
    return {one.verb.value: one.state for one in document.steps if one.model == name}


ALL_STORED = {
    **dict.fromkeys(("convert", "reference", "benchmark", "report", "bundle"), State.STORED),
    "tune": State.NOT_NEEDED,
}


def test_a_plan_ends_with_a_file_its_bundle_and_its_report(shipped: Ran, lab: Path) -> None:
    assert shipped.exit_code is ExitCode.DONE
    answer = shipped["net"]
    assert answer.variant == "int8"
    assert answer.verdict is Verdict.PASS
    assert answer.file == str(lab / "ship" / "net" / "local" / "int8.tflite")
    assert sha256_file(Path(answer.file)) == answer.sha256
    assert answer.bundle is not None
    assert edgetf.verify(answer.bundle).problems == []
    assert answer.sentence in (lab / "ship" / "report.html").read_text()
    assert 'href="net/local/report.html"' in (lab / "ship" / "report.html").read_text()
    assert "smaller than float32" in str(shipped)
    assert _states(shipped.document) == {
        **dict.fromkeys(("convert", "reference", "benchmark", "report", "bundle"), State.DONE),
        "tune": State.NOT_NEEDED,
    }
    assert edgetf.check(lab / "ship" / "net" / "local" / "bench", max_drop=6.0)["int8"].passed


def test_the_same_plan_makes_nothing_again_also_in_another_folder(shipped: Ran, lab: Path, tmp_path: Path) -> None:
    again = edgetf.run(lab / "edgetf.toml", on_event=_ignore)
    assert _states(again.document) == ALL_STORED
    assert again.document.answers == shipped.document.answers
    other = edgetf.run(lab / "edgetf.toml", tmp_path / "other", on_event=_ignore)
    assert _states(other.document) == {**ALL_STORED, "report": State.DONE, "bundle": State.DONE}
    assert other["net"].sha256 == shipped["net"].sha256


def test_another_budget_is_judged_without_measuring(shipped: Ran, lab: Path, tmp_path: Path) -> None:
    plan = lab / "strict.toml"
    plan.write_text((lab / "edgetf.toml").read_text() + "max_bytes = 10\n")
    found = edgetf.run(plan, tmp_path / "strict", on_event=_ignore)
    assert found.exit_code is ExitCode.BUDGET_MISSED
    assert (found["net"].variant, found["net"].verdict) == (None, Verdict.FAIL)
    states = _states(found.document)
    assert [states[verb] for verb in ("convert", "reference", "benchmark")] == [State.STORED] * 3
    assert states["bundle"] is State.NOT_NEEDED
    assert found["net"].bundle is None
    assert found["net"].others.keys() == {"float32", "int8"}
    assert "budget 10" in found["net"].others["int8"]


def test_a_dry_run_names_the_steps_that_would_run_and_why(shipped: Ran, lab: Path, edgetf_here: Run) -> None:
    plan = lab / "changed.toml"
    before = sorted((lab / "ship").rglob("*"))
    plan.write_text((lab / "edgetf.toml").read_text().replace('["float32", "int8"]', '["float32"]'))
    ended = edgetf_here("run", plan, "--dry-run", "-o", lab / "ship", "--json")
    assert ended.returncode == 0
    steps = {one["verb"]: (one["state"], one["because"], one["changed"]) for one in json.loads(ended.stdout)["steps"]}
    assert steps["convert"] == ("pending", "changed", ["schemes"])
    assert steps["reference"][0] == "stored"
    assert steps["benchmark"] == ("pending", "earlier", [])
    assert "net: convert" in ended.stderr
    assert "would run: changed: schemes" in ended.stderr
    assert sorted((lab / "ship").rglob("*")) == before


def test_a_step_that_fails_stops_only_what_stands_on_it(
    shipped: Ran, lab: Path, edgetf_here: Run, tmp_path: Path
) -> None:
    wrong = MODEL.format(name="gone", model="no-such-model", samples="train.npz", test="test.npz")
    (lab / "two.toml").write_text((lab / "edgetf.toml").read_text() + wrong)
    ended = edgetf_here("run", lab / "two.toml", "-o", tmp_path / "two", "--junit", "j.xml", "--summary", "s.md")
    assert ended.returncode == ExitCode.USER
    assert "Traceback" not in ended.stderr
    assert "gone: convert" in ended.stderr
    assert "does not exist" in ended.stderr
    found = edgetf.load(tmp_path / "two")
    assert _states(found.document)["bundle"] is State.DONE
    states = _states(found.document, "gone")
    assert states["convert"] is State.FAILED
    assert {states[verb] for verb in ("benchmark", "report", "bundle")} == {State.SKIPPED}
    assert 'failures="2"' in (tmp_path / "j.xml").read_text()  # it can neither be converted nor run
    assert "| gone |" in (tmp_path / "s.md").read_text()
    assert "1 of 2 have a file to ship." in ended.stdout
    with pytest.raises(KeyError, match="gone: convert failed"):
        found["gone"]


def test_any_device_of_a_class_will_do(shipped: Ran, lab: Path, tmp_path: Path) -> None:
    (lab / "devices.toml").write_text('[gone]\nkind = "ssh"\nhost = "127.0.0.1"\nport = 1\n[bench]\nkind = "local"\n')
    text = (lab / "edgetf.toml").read_text().replace('for = "size"', 'for = "size"\ndevices = "shelf"')
    (lab / "shelf.toml").write_text(text + '[classes]\nshelf = ["gone", "bench"]\n')
    found = edgetf.run(lab / "shelf.toml", tmp_path / "shelf", on_event=_ignore)
    assert found.exit_code is ExitCode.DONE
    assert (found["net"].device, found["net"].ran_on) == ("shelf", "bench")
    again = edgetf.run(lab / "shelf.toml", tmp_path / "shelf", on_event=_ignore)
    assert _states(again.document) == ALL_STORED  # by the member that was measured
    (lab / "gone.toml").write_text(text + '[classes]\nshelf = ["gone"]\n')
    found = edgetf.run(lab / "gone.toml", tmp_path / "none", on_event=_ignore)
    assert found.exit_code is ExitCode.DEVICE_FAILED
    step = found.document.step(Verb.BENCHMARK, "net", "shelf")
    assert step is not None
    assert (step.state, step.cause) == (State.FAILED, Cause.UNREACHABLE)


def test_the_workflow_for_github_works_as_written(shipped: Ran, lab: Path, tmp_path: Path) -> None:
    """Its `run` line; GitHub's own steps are left out. The steps of `shipped` are in the cache."""
    workflow = (Path(__file__).parents[2] / "docs" / "github-actions-run.yml").read_text()
    [command] = re.findall(r"^ *- run: (edgetf .*)$", workflow, re.MULTILINE)
    text = (lab / "edgetf.toml").read_text().replace('for = "size"', f'for = "size"\nout = "{tmp_path / "ship"}"')
    (lab / "ci").mkdir()
    (lab / "ci" / "edgetf.toml").write_text(text.replace('= "net"', '= "../net"').replace('= "t', '= "../t'))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    ended = subprocess.run(command, shell=True, cwd=lab / "ci", env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "summary.md").read_text().startswith("## edgetf run")
    assert 'testsuite name="edgetf run"' in (lab / "ci" / "edgetf.xml").read_text()
    assert (tmp_path / "ship" / "report.html").is_file()


def test_an_interrupted_run_keeps_the_steps_that_are_done(lab: Path, tmp_path: Path) -> None:
    with np.load(lab / "test.npz") as archive:
        np.savez(lab / "fewer.npz", **{name: values[:300] for name, values in archive.items()})
    (lab / "killed.toml").write_text((lab / "edgetf.toml").read_text().replace("test.npz", "fewer.npz"))

    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        edgetf.run(lab / "killed.toml", out, on_event=_stop_at_the_benchmark)
    assert not (out / "net").exists()
    found = edgetf.run(lab / "killed.toml", out, on_event=_ignore)
    states = _states(found.document)
    assert [states[verb] for verb in ("convert", "reference", "benchmark")] == [State.STORED, State.STORED, State.DONE]


def _stop_at_the_benchmark(event: Event) -> None:
    if "turn" in getattr(event, "name", ""):
        raise KeyboardInterrupt


def test_where_the_variants_do_not_give_the_answer_a_mixture_is_shipped(lab: Path, tmp_path: Path) -> None:
    (lab / "tuned.toml").write_text((lab / "edgetf.toml").read_text().replace("'never'", "'always'"))
    found = edgetf.run(lab / "tuned.toml", tmp_path / "tuned", on_event=_ignore)
    assert found.exit_code is ExitCode.DONE
    step = found.document.step(Verb.TUNE, "net", "local")
    assert step is not None
    assert step.state is State.DONE
    answer = found["net"]
    assert answer.bundle is not None
    assert edgetf.verify(answer.bundle).problems == []
    if answer.variant == "tuned":
        assert Path(answer.bench).parent == Path(step.place or "")
    assert answer.variant in {one.variant for one in read_benchmark(Path(answer.bench)).results}


def test_the_first_form_writes_the_plan_that_repeats_it(
    shipped: Ran, lab: Path, edgetf_here: Run, tmp_path: Path
) -> None:
    options = ("--samples", lab / "train.npz", "--test", lab / "test.npz", "--scheme", "float32", "--scheme", "int8")
    ended = edgetf_here("run", lab / "net", *options, "--max-drop", 6, "--for", "size", "-o", "mine")
    assert ended.returncode == 0, ended.stderr
    first = edgetf.load(tmp_path / "mine")
    assert _states(first.document)["convert"] is State.STORED  # of the plan above
    again = edgetf.run(tmp_path / "mine" / "edgetf.toml", on_event=_ignore)
    assert _states(again.document) == ALL_STORED
    assert again["net"].sha256 == first["net"].sha256


def test_a_plan_that_somebody_has_edited_is_not_replaced(
    shipped: Ran, lab: Path, edgetf_here: Run, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "edgetf.toml").write_text("# mine\n")
    ended = edgetf_here("run", lab / "net", "--test", lab / "test.npz", "-o", "mine", "--scheme", "float32")
    assert ended.returncode == ExitCode.USER
    assert "is not as edgetf run wrote it" in ended.stderr
    assert (tmp_path / "mine" / "edgetf.toml").read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('devices = "locl"', "unknown device 'locl'"),
        ('devices = "shelf"\n[classes]\nshelf = ["local", "gonee"]', "unknown device 'gonee'"),
        ('[classes]\nlocal = ["local"]', "'local' is a class and a device"),
    ],
)
def test_unknown_devices_are_refused_before_anything_runs(text: str, message: str, lab: Path) -> None:
    plan = (lab / "edgetf.toml").read_text()
    head, _, tables = text.partition("\n")
    if head.startswith("["):
        head, tables = "", text
    (lab / "wrong.toml").write_text(f"{head}\n{plan}\n{tables}\n")
    with pytest.raises(EdgetfError, match=message):
        edgetf.run(lab / "wrong.toml", on_event=_never)


def _never(event: Event) -> None:
    raise AssertionError(event)


def test_samples_that_are_missing_are_reported_by_a_dry_run_too(shipped: Ran, lab: Path) -> None:
    (lab / "typo.toml").write_text((lab / "edgetf.toml").read_text().replace("test.npz", "tset.npz"))
    found = edgetf.run(lab / "typo.toml", dry_run=True, on_event=_ignore)
    assert found.exit_code is ExitCode.USER
    failed = found.document.failure("net", "local")
    assert failed is not None
    assert "there are no samples at" in failed.error


def test_a_metric_and_the_modules_that_it_imports_are_facts_of_a_benchmark(
    shipped: Ran, lab: Path, tmp_path: Path
) -> None:
    (lab / "plan_scale.py").write_text("SCALE = 1.0\n")
    (lab / "plan_metric.py").write_text(
        "import numpy as np\nfrom plan_scale import SCALE\n"
        "def right(outputs, labels):\n    [y] = outputs.values()\n    return SCALE * (np.argmax(y, 1) == labels)\n"
        "def broken(outputs, labels):\n    raise ValueError('boom')\n"
    )
    text = (lab / "edgetf.toml").read_text()
    plan, broken = lab / "metric.toml", lab / "broken.toml"
    plan.write_text(text.replace("schemes =", 'metric = "plan_metric:right"\nschemes ='))
    broken.write_text(text.replace("schemes =", 'metric = "plan_metric:broken"\nschemes ='))
    found = edgetf.run(broken, tmp_path / "broken", on_event=_ignore)
    assert found.exit_code is ExitCode.USER
    failed = found.document.failure("net", "local")
    assert failed is not None
    assert "boom" in failed.error
    first = edgetf.run(plan, tmp_path / "out", on_event=_ignore)
    [metric] = _metrics(first)
    (lab / "plan_scale.py").write_text("SCALE = 2.0\n")
    then = edgetf.run(plan, tmp_path / "out", on_event=_ignore)
    step = then.document.step(Verb.BENCHMARK, "net", "local")
    assert step is not None
    assert (step.state, step.changed) == (State.DONE, ("metric",))
    [changed] = _metrics(then)
    assert changed == pytest.approx(2 * metric)  # in the same process too


def _metrics(ran: Ran) -> set[float]:
    """The metric of the reference."""
    results = read_benchmark(Path(ran["net"].bench)).results
    return {one.parity.metrics[0].reference for one in results if one.parity is not None}


def test_what_is_no_result_of_a_run_is_neither_replaced_nor_removed(shipped: Ran, lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    (out / "net" / "local").mkdir(parents=True)
    (out / "report.html").write_text("mine")
    with pytest.raises(EdgetfError, match=r"report\.html is there already"):
        edgetf.run(lab / "edgetf.toml", out, on_event=_ignore)
    assert (out / "report.html").read_text() == "mine"
    (out / "report.html").unlink()
    (out / "net" / "local" / "mine.tflite").write_text("mine")
    edgetf.run(lab / "edgetf.toml", out, on_event=_ignore)
    assert (out / "net" / "local" / "int8.tflite").is_file()
    (lab / "none.toml").write_text((lab / "edgetf.toml").read_text() + "max_bytes = 10\n")
    found = edgetf.run(lab / "none.toml", out, on_event=_ignore)
    assert found.exit_code is ExitCode.BUDGET_MISSED
    assert sorted(path.name for path in (out / "net" / "local").glob("*.tflite")) == ["mine.tflite"]


def test_a_tuned_variant_is_shipped_only_within_all_budgets_of_the_plan(lab: Path, tmp_path: Path) -> None:
    text = (lab / "edgetf.toml").read_text().replace("'never'", "'always'") + "min_agreement = 1.0\n"
    (lab / "all.toml").write_text(text.replace("max_drop = 6.0", "max_drop = 6.0\nmax_memory_bytes = 1"))
    found = edgetf.run(lab / "all.toml", tmp_path / "all", on_event=_ignore)
    assert (found["net"].variant, found["net"].verdict) == (None, Verdict.FAIL)
    assert found.exit_code is ExitCode.BUDGET_MISSED


def test_arguments_of_a_model_are_refused_beside_a_plan(lab: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="samples is for a model"):
        edgetf.run(lab / "edgetf.toml", samples="x.npz")
    with pytest.raises(EdgetfError, match="budgets are for a model"):
        edgetf.run(lab / "edgetf.toml", max_drop=1.0)
    with pytest.raises(EdgetfError, match="there is no plan"):
        edgetf.run(tmp_path / "edgetf.toml")
    with pytest.raises(EdgetfError, match="there are no samples to judge on"):
        edgetf.run(lab / "net")


def test_what_is_in_the_way_of_a_link_stays(shipped: Ran, lab: Path, tmp_path: Path) -> None:
    mine = tmp_path / "busy" / "net" / "local" / "bench"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    found = edgetf.run(lab / "edgetf.toml", tmp_path / "busy", on_event=_ignore)
    assert found.exit_code is ExitCode.USER
    assert (mine / "notes.txt").read_text() == "mine"


def test_a_result_that_was_removed_is_made_again(shipped: Ran, lab: Path) -> None:
    step = shipped.document.step(Verb.REFERENCE, "net", None)
    assert step is not None
    assert step.place is not None
    shutil.rmtree(step.place)
    again = edgetf.run(lab / "edgetf.toml", on_event=_ignore)
    made = again.document.step(Verb.REFERENCE, "net", None)
    assert made is not None
    assert (made.state, made.because) == (State.DONE, Because.LOST)
