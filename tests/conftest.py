"""Fixtures that tests share: one small real network, its samples, and the results of each command, each made once."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from edgetf import defaults

defaults.PATIENCE = 1  # before it is read: a machine that is busy with tests makes no benchmark longer

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import TimingPlan
from edgetf.files import write_document
from edgetf.results import Result
from edgetf.samples import make_samples, save_samples
from tests.hints import refuse_dead_ends
from tests.quick import ready

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # results of the CPU, even if there is a GPU: it is chosen once per process
os.environ["EDGETF_HISTORY"] = str(
    Path(tempfile.mkdtemp(prefix="edgetf-history-")) / "history.sqlite"
)  # not the user's
os.environ["EDGETF_CACHE"] = tempfile.mkdtemp(prefix="edgetf-cache-")
# started in the background, or by nohup, a process ignores signals, and so do all that it starts
for ending in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(ending) is signal.SIG_IGN:
        signal.signal(ending, signal.default_int_handler if ending == signal.SIGINT else signal.SIG_DFL)
# CI tries the same examples every time, other runs search for new ones; a busy machine does not fail a test
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("here", deadline=None)
settings.load_profile("here")
if os.environ.get("CI"):
    settings.load_profile("ci")
if WORKER := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["TMPDIR"] = tempfile.tempdir = str(Path(tempfile.gettempdir()) / f"edgetf-tests-{WORKER}")
    Path(tempfile.tempdir).mkdir(exist_ok=True)
# parallel workers act as separate machines, with separate locks
os.environ["EDGETF_LOCKS"] = tempfile.mkdtemp(prefix="edgetf-locks-")
SHORT = TimingPlan(max_warmup_s=0.1, min_runs=50, min_s=0.05, max_s=2.0)
BLOCKS = 2  # the minimum
QUICK = Path(__file__).parent / "quick"
# commands start with TensorFlow imported, and benchmark with the fewest turns unless their options ask for more
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes would compile edgetf
os.environ["PYTHONPATH"] = os.pathsep.join([str(QUICK), *filter(None, [os.environ.get("PYTHONPATH")])])


def pytest_configure(config: pytest.Config) -> None:
    """Start a process for each generation of Keras; they end with this one, when their standard input does."""
    if WORKER or config.getoption("numprocesses", None) == 0:
        folder = tempfile.mkdtemp(prefix="edgetf-ready-")
        os.environ.update(EDGETF_TESTS_READY=folder, EDGETF_TESTS_SETTINGS=ready.settings(os.environ))
        for legacy in "01":
            env = {**os.environ, "TF_USE_LEGACY_KERAS": legacy}
            command = [sys.executable, str(QUICK / "ready.py"), ready.socket_of(folder, env)]
            READY.append(subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL))


READY: list[subprocess.Popen[bytes]] = []


@pytest.fixture
def own_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that kill or observe edgetf's processes: each imports TensorFlow itself, as a user's do."""
    monkeypatch.delenv("EDGETF_TESTS_READY", raising=False)


def ignore(event: object) -> None:
    """For verbs whose events do not matter."""


@dataclass(frozen=True)
class Small:
    """A network of 3 classes for 8x8 images with random weights, and 200 samples labelled by itself."""

    saved_model: Path
    keras_file: Path
    samples: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    import keras

    folder = tmp_path_factory.mktemp("small")
    keras.utils.clear_session()  # layers are named dense, not dense_4, whatever other tests have made before
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(8, 3, activation="relu", bias_initializer="random_normal"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),  # large enough to be quantized by the dynamic scheme
            layers.Dense(3, activation="softmax", bias_initializer="random_normal"),
        ]
    )
    model.export(str(folder / "saved_model"), verbose=False)
    model.save(folder / "model.keras")
    images = np.random.default_rng(0).normal(size=(200, 8, 8, 1)).astype(np.float32)
    labels = np.argmax(model.predict(images, verbose=0), axis=1)
    save_samples(folder / "samples.npz", make_samples("test", {"image": images}, labels))
    return Small(folder / "saved_model", folder / "model.keras", folder / "samples.npz")


@pytest.fixture(scope="session")
def converted(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all schemes of the small network."""
    out = tmp_path_factory.mktemp("converted") / "out"
    convert(small.saved_model, out, ConvertOptions(samples=small.samples), ignore)
    return out


@pytest.fixture(scope="session")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A network whose channels between the first three layers differ 10,000 times in size, which no result shows."""
    import keras

    folder, layers = tmp_path_factory.mktemp("unlike"), keras.layers
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2), name="image"),
            layers.Conv2D(24, 3, activation="relu", bias_initializer="random_normal", name="first"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 2, activation="relu", bias_initializer="random_normal", name="second"),
            layers.Flatten(),
            layers.Dense(32, activation="tanh", name="third"),  # which does not commute with factors
            layers.Dense(3, activation="softmax", name="last"),
        ]
    )
    for name, reader in (("first", "second"), ("second", "third")):
        kernel, bias = model.get_layer(name).get_weights()
        factors = 10.0 ** np.random.default_rng(0).permutation(np.linspace(-2, 2, len(bias)))
        model.get_layer(name).set_weights([kernel * factors, bias * factors])
        weights, *rest = model.get_layer(reader).get_weights()
        every = np.tile(factors, weights.shape[-2] // len(factors))
        model.get_layer(reader).set_weights([weights / every[:, None], *rest])
    model.export(str(folder / "saved_model"), verbose=False)
    model.save(folder / "model.keras")
    images = np.random.default_rng(0).normal(size=(100, 8, 8, 2)).astype(np.float32)
    labels = np.argmax(model.predict(images, verbose=0), axis=1)
    save_samples(folder / "samples.npz", make_samples("unlike", {"image": images}, labels))
    return Small(folder / "saved_model", folder / "model.keras", folder / "samples.npz")


@pytest.fixture(scope="session")
def equalized(unlike: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the schemes of that network that are mixed; int8 is equalized."""
    out = tmp_path_factory.mktemp("equalized") / "out"
    schemes = ("float32", "float16", "dynamic", "int8")
    convert(unlike.saved_model, out, ConvertOptions(schemes, samples=unlike.samples), ignore)
    return out


@pytest.fixture(scope="session")
def reference(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small network's reference, made on the CPU."""
    out = tmp_path_factory.mktemp("reference") / "ref"
    make_reference(small.saved_model, small.samples, out, ReferenceOptions(on=Place.CPU), ignore)
    return out


@pytest.fixture(scope="session")
def unseen(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on other samples than those that the variants were calibrated on, which cannot prove anything."""
    import keras

    folder = tmp_path_factory.mktemp("others")
    images = np.random.default_rng(1).normal(size=(600, 8, 8, 1)).astype(np.float32)
    labels = np.argmax(keras.models.load_model(small.keras_file).predict(images, verbose=0), axis=1)
    save_samples(folder / "samples.npz", make_samples("others", {"image": images}, labels))
    make_reference(small.saved_model, folder / "samples.npz", folder / "ref", ReferenceOptions(on=Place.CPU), ignore)
    return folder / "ref"


@pytest.fixture(scope="session")
def benchmarked(converted: Path, reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the benchmark of all schemes against the reference.

    Its timings are marked as stable and precise: verdicts on others have their own tests, and a busy machine must not
    affect the other tests. The interval of two turns alone may begin at 0.
    """
    out = tmp_path_factory.mktemp("benchmarked") / "bench"
    options = BenchmarkOptions(reference=reference, timing=SHORT, blocks=BLOCKS, patience=1)
    found = benchmark([converted], LocalDevice(), out, options, ignore)
    write_document(out / "benchmark.json", replace(found, results=tuple(map(_calmed, found.results))))
    return out


def _calmed(result: Result) -> Result:
    assert result.latency_ms is not None
    median = result.latency_ms.median
    latency = replace(result.latency_ms, low=0.98 * median, high=1.02 * median)
    return replace(result, stable=True, stable_reason="reported by the tests", latency_ms=latency)


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def edgetf(tmp_path: Path) -> Run:
    """Runs the command as a user would, in an empty folder, and returns what it printed and its exit code."""

    def run(*arguments: object, cwd: Path = tmp_path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgetf", *map(str, arguments)]
        env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, env=env, check=False)
        refuse_dead_ends(command[3:], done.returncode, done.stdout, done.stderr)
        return done

    return run


@pytest.fixture
def edgetf_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same in this process, in a tenth of the time, for tests that do not need a separate process."""

    def run(*arguments: object, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        from edgetf.cli import cli, ending

        words, out, err = [*map(str, arguments)], io.StringIO(), io.StringIO()
        monkeypatch.chdir(cwd)
        monkeypatch.delenv("COLUMNS", raising=False)
        monkeypatch.setattr(sys, "argv", ["edgetf", *words])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = ending._run(lambda: cli.main(words, standalone_mode=False))
        refuse_dead_ends(words, code, out.getvalue(), err.getvalue())
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    return run


# files that take minutes, the longest first: all other workers wait for the last one to finish
LONG = (
    *("real/test_models_of_others.py", "docs/test_tour.py", "cli/test_commands.py", "tuning/test_tune.py"),
    *("tuning/test_several.py", "models/test_compression.py", "e2e/test_emulated_pi.py", "conversion/test_trial.py"),
    *("benchmarks/test_benchmark.py", "docs/test_notebook.py", "device/test_phone_faults.py", "device/test_ssh.py"),
    *("cli/test_followed_hints.py", "benchmarks/judging/test_label_metrics.py", "api/test_front_door.py"),
    "chaos/test_rounds.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files start first (with `--no-loadscope-reorder`, else those with the most tests would)."""
    rank = {Path(__file__).parent / name: k for k, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
