"""The Python API as a notebook uses it: `import edgetf` and nothing else of the package."""

from __future__ import annotations

import csv
import doctest
import inspect
import os
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import edgetf
from edgetf.cli import cli

# commands for files on disk (a data set, a trained network, a file for a device), and programs that serve others
WORKSHOP = {"certificates", "demo", "models", "runner", "samples", "scheduler", "worker"}
FUNCTIONS = [name for name in edgetf.__all__ if name not in ("EdgetfError", "load")]
PRINTING = {"json", "keep_going", "schema"}  # options for the output of a command, and its exit code
ARGUMENTS = {"bench", "benches", "budget", "bundle", "model", "scheduler", "variants", "what"}
# options that are given several times, and a word that Python has for itself
PLURALS = {"scheme": "schemes", "shape": "shapes", "for": "objective"}
FOR = {"inspect": "target", "compile": "target"}  # what `--for` is called there: `for` is a word of Python

SCRIPT = """
variants = edgetf.convert(model, "out", samples=x_train[:500], schemes=["float32", "int8"])
reference = edgetf.reference(model, (x_test, y_test), "ref")
bench = edgetf.benchmark(variants, "bench", reference=reference, device="local")
print(edgetf.check(bench, max_drop=5.0)["int8"])
edgetf.report(bench, "report.html")
"""


def test_every_command_has_its_function_and_every_function_its_command() -> None:
    assert {name for name in cli.commands if name not in WORKSHOP} == set(FUNCTIONS)
    assert set(dir(edgetf)) == {*edgetf.__all__, "__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'konvert'"):
        getattr(edgetf, "konvert")  # noqa: B009


def _in_python(command: str, word: str) -> str:
    """The parameter of an option."""
    return FOR.get(command, PLURALS["for"]) if word == "for" else PLURALS.get(word, word)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not isinstance(cli.commands[name], click.Group)])
def test_options_have_the_same_names_in_python_and_on_the_command_line(name: str) -> None:
    options = [one for one in cli.commands[name].params if isinstance(one, click.Option)]
    words = {max(option.opts, key=len).lstrip("-").replace("-", "_") for option in options}
    keywords = set(inspect.signature(getattr(edgetf, name)).parameters) - {"on_event"}
    named = {_in_python(name, word) for word in words - PRINTING}
    assert named <= keywords
    assert keywords - named <= ARGUMENTS


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not isinstance(cli.commands[name], click.Group)])
def test_options_have_the_same_defaults_in_python_and_on_the_command_line(name: str) -> None:
    parameters = inspect.signature(getattr(edgetf, name)).parameters
    context = click.Context(cli.commands[name], resilient_parsing=True)
    compared = 0
    for option in cli.commands[name].params:
        word = max(option.opts, key=len).lstrip("-").replace("-", "_")
        parameter = parameters.get(_in_python(name, word))
        default = option.get_default(context)
        if isinstance(option, click.Option) and parameter and isinstance(default, (str, int, float, tuple)) and default:
            assert parameter.default == (default[0] if isinstance(default, tuple) else default), word
            compared += 1
    assert compared >= {"benchmark": 2, "convert": 1, "reference": 1, "choose": 1, "bundle": 1}.get(name, 0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings_describe_every_parameter_and_have_an_example(name: str) -> None:
    function = getattr(edgetf, name)
    lines = (inspect.getdoc(function) or "").split("\n")
    assert {"Parameters", "Returns", "Examples"} <= set(lines)
    described = {word.strip() for line in lines if line[:1] != " " for word in line.split(",")}
    assert set(inspect.signature(function).parameters) <= described
    assert "return" in typing.get_type_hints(function)


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that a notebook has when edgetf comes in: a trained model and its data."""
    keras = pytest.importorskip("keras")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGETF_HISTORY", str(tmp_path / "history.sqlite"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    keras.utils.set_random_seed(0)
    y = np.arange(700) % 3
    x = np.random.default_rng(0).normal(size=(700, 6)) * 0.1 + np.eye(3)[y].repeat(2, axis=1)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(512, "relu"), keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x[:500], y[:500], epochs=10, verbose=0)
    data = {"x_train": x[:500], "x_test": x[500:], "y_test": y[500:]}
    return {"edgetf": edgetf, "model": model, **data}


@pytest.mark.slow
def test_the_five_lines_of_a_notebook_work(notebook: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(True)
    exec(SCRIPT, notebook)
    assert capsys.readouterr().out.startswith("PASS: accuracy drop +0.00 points [")
    assert tf.config.experimental.tensor_float_32_execution_enabled()  # the process is unchanged
    bench = notebook["bench"]
    assert bench["int8"].latency_ms.median > 0
    assert bench["int8"].path.samefile("out/int8.tflite")
    assert "Measured on" in str(bench)
    assert "<pre" in bench._repr_html_()
    bench.to_csv("bench.csv")
    with Path("bench.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == ["float32", "int8"]
    assert float(rows[1]["median_ms"]) == bench["int8"].latency_ms.median
    with pytest.raises(KeyError, match="did you mean 'int8'"):
        bench["int9"]
    assert edgetf.load("bench")["int8"].record == bench["int8"].record
    # the examples in the docstrings start from here
    Path("budget.toml").write_text('variants = ["int8"]\n[budgets]\nmax_drop = 5.0\n')
    for name in (
        "check",
        "gate",
        "choose",
        "explain",
        "bundle",
        "verify",
        "load",
        "inspect",
        "devices",
        "history",
        "run",
        "cache",
    ):
        _run_examples(name, notebook)


def _run_examples(name: str, names: dict[str, Any]) -> None:
    [test] = [one for one in doctest.DocTestFinder(recurse=False).find(getattr(edgetf, name), name) if one.examples]
    test.globs = dict(names)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed == 0, name


@pytest.mark.slow
def test_results_without_a_folder_are_cached_and_reused(notebook: dict[str, Any]) -> None:
    made = edgetf.convert(notebook["model"], schemes=["float32"])
    assert made["float32"].path is not None
    assert made["float32"].path.is_relative_to(Path("cache").resolve())
    stamp = made["float32"].path.stat().st_mtime_ns
    again = edgetf.convert(notebook["model"], schemes=["float32"])
    assert again["float32"].path == made["float32"].path
    assert made["float32"].path.stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_mypy_passes_on_a_users_script(tmp_path: Path) -> None:
    head = "import edgetf\nimport numpy as np\nmodel = 'saved_model'\nx_train = x_test = y_test = np.zeros(3)\n"
    (tmp_path / "script.py").write_text(f"{head}{SCRIPT}\nreveal_type(bench['int8'].latency_ms)\n")
    command = [sys.executable, "-m", "mypy", "--strict", "script.py"]
    # mypy does not follow the import hook of an editable installation
    env = {**os.environ, "PYTHONPATH": str(Path(edgetf.__file__).parent.parent)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=env)
    assert "Success" in done.stdout, done.stdout
    assert "Latency" in done.stdout


@pytest.mark.slow
def test_the_cache_depends_on_file_contents_and_options(notebook: dict[str, Any]) -> None:
    variants = edgetf.convert(notebook["model"], schemes="float32")
    np.savez("t.npz", x=notebook["x_test"][:12].astype(np.float32))
    first = edgetf.reference(notebook["model"], "t.npz", on="cpu")
    np.savez("t.npz", x=notebook["x_test"][:30].astype(np.float32))
    assert len(edgetf.reference(notebook["model"], "t.npz", on="cpu").outputs["output_0"]) == 30
    assert len(first.outputs["output_0"]) == 12
    one, two = (edgetf.benchmark(variants, threads=threads, blocks=2) for threads in (1, 2))
    assert one.folder != two.folder
    assert edgetf.inspect("t.npz")["x"].shape == (30, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edgetf.reference("m", "s.npz", labels_are="clas"), "labels_are='clas' is not known"),
        (lambda: edgetf.benchmark("v.tflite", threads=0), "threads must be at least 1"),
        (lambda: edgetf.benchmark("v.tflite", metric_less_is_better=True), "needs metric"),
        (lambda: edgetf.choose("bench", objective="speed"), "objective='speed' is not known"),
        (lambda: edgetf.check("bench", max_drop=float("nan")), "max_drop=nan is not a number of at least 0"),
        (lambda: edgetf.check("bench", max_bytes=-1), "max_bytes=-1 is not a number of at least 0"),
        (lambda: edgetf.inspect(3), "is not a model"),
    ],
)
def test_python_refuses_what_the_command_refuses(call: Any, message: str) -> None:
    with pytest.raises(edgetf.EdgetfError, match=message):
        call()


@pytest.mark.slow
def test_a_metric_defined_in_a_notebook_is_judged(notebook: dict[str, Any]) -> None:
    def likelihood(outputs: dict[str, Any], labels: Any) -> Any:
        [values] = outputs.values()
        return -np.log(values[np.arange(len(labels)), labels] + 1e-9)

    variants = edgetf.convert(notebook["model"], schemes=["float16"])
    reference = edgetf.reference(notebook["model"], (notebook["x_test"], notebook["y_test"]), on="cpu")
    bench = edgetf.benchmark(variants, reference=reference, metric=likelihood, metric_less_is_better=True, blocks=2)
    [metric] = bench["float16"].parity.metrics  # type: ignore[union-attr]
    assert metric.name.endswith("likelihood")
    assert abs(metric.drop) < 0.01
