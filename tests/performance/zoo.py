"""The whole zoo to the device: `python -m tests.performance.zoo [MODEL...]` writes docs/zoo.md.

Each model is trained, exported, converted by every scheme, compared with TensorFlow and timed on this machine; dqn's
variants play a hundred games besides. What is made stays in build/zoo; a model whose results are there is not made
again, so that an interrupted run resumes. Takes about fifteen minutes.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from rich.console import Console

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.devices import find_device
from edgetf.device.greedy import greedy_policy
from edgetf.events import Event
from edgetf.files import read_document
from edgetf.models.cartpole import INPUT, Policy, play, policy_of_model
from edgetf.models.run import Run
from edgetf.models.training import TRAINING_SCHEMA, Training, in_words, train_and_export
from edgetf.models.zoo import ZOO
from edgetf.results import OutputParity, Result, Verdict, read_benchmark

WORK, PAGE = Path("build/zoo"), Path("docs/zoo.md")
BLOCKS, GAMES, SEED = 3, 100, 10_000


def make(name: str, folder: Path) -> None:
    """All files of one model."""
    console = Console(stderr=True)
    console.print(name)
    if not (folder / "spent.json").exists():  # what was trained stays, so that conversions can be measured again
        begin, cpu = perf_counter(), _cpu_seconds()
        train_and_export(name, folder / "model", folder / "saved_model", True, Run())
        spent = {"wall_s": perf_counter() - begin, "cpu_s": _cpu_seconds() - cpu}
        (folder / "spent.json").write_text(json.dumps(spent))
    samples = folder / "model" / "test.npz"
    convert(folder / "saved_model", folder, ConvertOptions(samples=folder / "model" / "train.npz", force=True), _ignore)
    make_reference(folder / "saved_model", samples, folder, ReferenceOptions(on=Place.CPU, force=True), _ignore)
    if name == "dqn":
        (folder / "returns.json").write_text(json.dumps(_returns(folder)))
    options = BenchmarkOptions(reference=folder, blocks=BLOCKS, patience=1, force=True)
    benchmark([folder], find_device("local"), folder, options, _ignore)


def _returns(folder: Path) -> dict[str, list[float]]:
    """The return of each game for the Keras model ("keras") and every variant, from the same starts."""
    import keras

    model = keras.models.load_model(folder / "model" / "model.keras", compile=False)
    players: dict[str, Policy] = {"keras": policy_of_model(model)}
    players.update({path.stem: greedy_policy(path, INPUT, (4,)) for path in sorted(folder.glob("*.tflite"))})
    return {name: play(policy, GAMES, SEED)[0].tolist() for name, policy in players.items()}


def page(names: list[str]) -> str:
    """docs/zoo.md."""
    machine = read_benchmark(WORK / names[0]).machine
    lines = [
        "# The zoo, measured",
        "",
        f"Made by `python -m tests.performance.zoo` on {machine.get('cpu', 'this machine')}, two shared x86-64 cores",
        "that other programs used meanwhile: latencies show the order, not the device. Verdicts are those of",
        "`edgetf check` with its default budgets, on test samples that no training saw.",
        "",
        "| model | shows | reached | training, wall s | CPU s |",
        "|---|---|---|---|---|",
    ]
    total = {"wall_s": 0.0, "cpu_s": 0.0}
    for name in names:
        training = read_document(WORK / name / "model" / "training.json", Training, TRAINING_SCHEMA)
        spent = json.loads((WORK / name / "spent.json").read_text())
        total = {key: total[key] + spent[key] for key in total}
        cells = [name, ZOO[name].summary, in_words(training), f"{spent['wall_s']:.0f}", f"{spent['cpu_s']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        f"| all | | | {total['wall_s']:.0f} | {total['cpu_s']:.0f} |",
        "",
        "What each variant keeps: accuracy where the output names a class (drop in points, 95 % interval), else the",
        "signal-to-noise ratio about the mean (dB, 95 % interval).",
        "",
        "| model | scheme | keeps | drop or SQNR [95 %] | bytes | ms | verdict | why not |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        lines += [_row(name, result) for result in read_benchmark(WORK / name).results]
    if "dqn" in names:
        lines += _games(WORK / "dqn")
    lines += _reasons(names)
    return "\n".join(lines) + "\n"


def _row(name: str, result: Result) -> str:
    size = f"{result.bytes:,}" if result.bytes else ""
    latency = f"{result.latency_ms.median:.3g}" if result.latency_ms else ""
    scheme = result.scheme or result.variant
    if result.error or result.parity is None:
        why = result.error.message if result.error else "nothing was compared"
        return f"| {name} | {scheme} | | | {size} | {latency} | FAILED | {_cell(why)} |"
    keeps, drops = zip(*(_figures(output, name == "dqn") for output in result.parity.outputs), strict=True)
    why = "" if result.parity.verdict is Verdict.PASS else result.parity.reason
    cells = [name, scheme, "<br>".join(keeps), "<br>".join(drops), size, latency, result.parity.verdict.label]
    return f"| {' | '.join([*cells, _cell(why)])} |"


def _figures(output: OutputParity, game: bool) -> tuple[str, str]:
    """The agreement of an output, and its loss."""
    if output.accuracy is not None:
        found = output.accuracy
        return (
            f"{found.variant:.1%} {'of its moves' if game else 'right'}",
            f"{found.drop_points:+.2f} [{found.low:+.2f}, {found.high:+.2f}]",
        )
    if output.agreement is not None:
        same = output.agreement
        return f"{same.share:.1%} agree", f"[{same.low:.1%}, {same.high:.1%}]"
    bounds = (output.centred_low_db, output.centred_high_db)
    reported = ", ".join("∞" if bound is None else f"{bound:.1f}" for bound in bounds)
    ratio = "∞" if output.centred_db is None else f"{output.centred_db:.1f}"
    return f"{output.name}: largest error {output.max_abs:.2g}", f"{ratio} dB [{reported}]"


def _games(folder: Path) -> list[str]:
    """The returns of dqn's players, each game compared with the Keras model's from the same start."""
    returns = {name: np.array(each) for name, each in json.loads((folder / "returns.json").read_text()).items()}
    lines = [
        "",
        f"dqn's variants played {GAMES} games of CartPole each, on the runner's interpreter, from the same starts as",
        "the Keras model (500 is the most that a game can give). Lost: the mean difference, with its 95 % interval.",
        "",
        "| player | mean return | least | lost [95 %] |",
        "|---|---|---|---|",
    ]
    for name, each in returns.items():
        lost = returns["keras"] - each
        reach = 1.984 * float(lost.std(ddof=1)) / np.sqrt(len(lost))  # Student's t, 99 degrees of freedom
        reported = (
            "" if name == "keras" else f"{lost.mean():+.1f} [{lost.mean() - reach:+.1f}, {lost.mean() + reach:+.1f}]"
        )
        lines.append(f"| {name} | {each.mean():.1f} | {each.min():.0f} | {reported} |")
    return lines


def _reasons(names: list[str]) -> list[str]:
    """The reasons for the verdicts that are not PASS, as far as they are known."""
    bad = {(name, result.scheme) for name in names for result in read_benchmark(WORK / name).results if _is_bad(result)}
    lines = []
    if ("mobilenet", "int8") in bad:
        lines += [
            "- mobilenet, int8: steps made for bright images lose the dark ones; `--qat` keeps them (docs/models.md)."
        ]
    made = {(name, result.scheme) for name in names for result in read_benchmark(WORK / name).results}
    if without := [name for name in names if (name, "int16x8") not in made]:
        lines += [
            f"- {', '.join(without)} have no int16x8: TFLite lacks some kernels with",
            "  16-bit activations, and its converter crashes on WHILE loops.",
        ]
    if ("dqn", "int8") in bad:
        values = np.load(WORK / "dqn" / "reference" / "output-0.npy")
        apart = float(np.median(np.abs(values[:, 0] - values[:, 1])))
        runner = Interpreter(str(WORK / "dqn" / "int8-io.tflite"))
        (step, _), *_ = (output["quantization"] for output in runner.get_output_details())
        lines += [
            f"- dqn: the values of its two actions lie {apart:.2g} apart (median) at about {values.mean():.0f}, and a",
            f"  step of the int8 output is {step:.2g}: often both are the same number. Moves that differ cost no",
            "  return where either move keeps the pole up; only the games show it.",
        ]
    return ["", "Behind what does not pass, or is not there:", "", *lines] if lines else []


def _is_bad(result: Result) -> bool:
    return result.parity is None or result.parity.verdict is not Verdict.PASS


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _ignore(event: Event) -> None:
    pass


def main() -> None:
    names = sys.argv[1:] or list(ZOO)
    for name in names:
        if not (WORK / name / "benchmark.json").exists():
            make(name, WORK / name)
    done = [name for name in ZOO if (WORK / name / "benchmark.json").exists()]
    PAGE.write_text(page(done))


if __name__ == "__main__":
    main()
