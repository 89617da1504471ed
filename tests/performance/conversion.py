"""Conversion compared with TensorFlow's own API, on MobileNetV2-224: `python -m tests.performance.conversion`.

Five schemes with 500 samples, each side in a separate process (TensorFlow's import is not counted). Prints both
sides and their ratio, from one run: seconds for all schemes, milliseconds of calibration a sample, peak memory. What
edgetf does in addition, repairs that it judges on samples, is counted, and shown. The limit of calibration is what 500
inferences of the float model take on all cores. Takes about five minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edgetf.backend import load_tensorflow
from edgetf.device.runner.machine import cores, resident_bytes
from edgetf.results import RepairKind

SCHEMES = ("float32", "float16", "dynamic", "int8", "int16x8")
SIZE, SAMPLES = 224, 500


def make_model(folder: Path) -> None:
    """MobileNetV2 with random weights whose batch norms fit the samples, so that activations are alive."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2((SIZE, SIZE, 3), weights=None, classes=1000)
    images = np.random.default_rng(0).uniform(-1, 1, (SAMPLES, SIZE, SIZE, 3)).astype(np.float32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images[:16], training=True)
    model.export(str(folder / "model"), verbose=False)
    np.savez(folder / "samples.npz", x=images)


def official(folder: Path) -> dict[str, Any]:
    """One conversion for each scheme, as TensorFlow's documentation shows it."""
    tf = load_tensorflow()
    begin = perf_counter()
    images = np.load(folder / "samples.npz")["x"]
    seconds = {"reading model and samples": perf_counter() - begin}
    for name in SCHEMES:
        begin = perf_counter()
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "model"))
        if name != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if name == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if name.startswith("int"):
            converter.representative_dataset = lambda: ([images[k : k + 1]] for k in range(len(images)))
            ops = tf.lite.OpsSet
            int16 = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8 if name == "int8" else int16]
        converter.convert()
        seconds[name] = perf_counter() - begin
    calibration = seconds["int8"] - seconds["dynamic"]
    return {"seconds": seconds, "calibration_s": calibration, "peak_bytes": resident_bytes(peak=True)}


def ours(folder: Path) -> dict[str, Any]:
    """The same schemes through edgetf's engines, reading the SavedModel and the samples included."""
    from edgetf.conversion.engine import Engines, Observed
    from edgetf.conversion.savedmodel import fix_shapes, read_source, save_with_shapes
    from edgetf.results import Calibration
    from edgetf.samples import load_samples
    from edgetf.schemes import find_scheme

    load_tensorflow(alone=True)  # as the process of a conversion does
    begin = perf_counter()
    source = fix_shapes(read_source(folder / "model", None), {})
    samples = load_samples(folder / "samples.npz", source.inputs)
    saved_model = save_with_shapes(source, folder / "fixed")
    calibration = Calibration(samples.used(), len(samples), 0)
    engines = Engines(saved_model, source, Observed(samples, calibration), False, lambda done, of: None)
    seconds, repairs = {"reading model and samples": perf_counter() - begin}, 0.0
    for name in SCHEMES:
        begin = perf_counter()
        if name == "int8":
            engines.ranges  # noqa: B018  # computed here, to be timed by itself
            seconds["calibration"] = perf_counter() - begin
            begin = perf_counter()
        made = engines.make(find_scheme(name), engines.why_official(find_scheme(name)))
        assert made.engine == "fast"
        seconds[name] = perf_counter() - begin
        # choosing ranges has the inferences of calibration in it: they are not extra
        repairs += sum(one.seconds for one in made.repairs if one.kind is not RepairKind.RANGES)
    peak = resident_bytes(peak=True)
    limit = _inferences(engines.flatbuffer, next(iter(samples.inputs.values())))
    return {
        "seconds": seconds,
        "calibration_s": seconds["calibration"],
        "repairs_s": repairs,
        "inferences_s": limit,
        "peak_bytes": peak,
    }


def _inferences(content: bytes, images: Any) -> float:
    """Seconds of one inference for each image, an interpreter with one thread on every core."""
    from ai_edge_litert.interpreter import Interpreter

    def run(share: int) -> None:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        place = interpreter.get_input_details()[0]["index"]
        for k in range(share, len(images), cores()):
            interpreter.set_tensor(place, images[k : k + 1])
            interpreter.invoke()

    begin = perf_counter()
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(run, range(cores())))
    return perf_counter() - begin


def _in_a_process(side: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.performance.conversion", side, str(folder)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    if len(sys.argv) == 3:
        side = {"official": official, "ours": ours}[sys.argv[1]]
        print(json.dumps(side(Path(sys.argv[2]))))  # noqa: T201
        return
    with tempfile.TemporaryDirectory() as temporary:
        make_model(Path(temporary))
        them, us = (_in_a_process(side, Path(temporary)) for side in ("official", "ours"))
    Console(width=120).print(to_table(them, us))


def to_table(them: dict[str, Any], us: dict[str, Any]) -> Table:
    """What `official` and `ours` have returned, side by side."""
    table = Table(title=f"Five schemes of MobileNetV2-{SIZE} with {SAMPLES} samples")
    for column in ("what", "TensorFlow's API", "edgetf", "ratio"):
        table.add_column(column)
    for what in dict.fromkeys([*us["seconds"], *them["seconds"]]):
        cells = [f"{side['seconds'][what]:.1f} s" if what in side["seconds"] else "" for side in (them, us)]
        table.add_row(what, *cells, "")
    total = [sum(side["seconds"].values()) for side in (them, us)]
    table.add_row("all", f"{total[0]:.1f} s", f"{total[1]:.1f} s", f"{total[0] / total[1]:.1f} times faster")
    same = total[1] - us["repairs_s"]
    table.add_row("all, without repairs", f"{total[0]:.1f} s", f"{same:.1f} s", f"{total[0] / same:.1f} times faster")
    limit = us["inferences_s"]
    ratio = f"{us['calibration_s'] / limit:.2f} of these"
    table.add_row("float inferences alone", "", f"{limit:.1f} s", f"calibration {ratio}")
    each = [1000 * side["calibration_s"] / SAMPLES for side in (them, us)]
    table.add_row(
        "calibration of a sample", f"{each[0]:.1f} ms", f"{each[1]:.1f} ms", f"{each[0] / each[1]:.1f} times faster"
    )
    peak = [side["peak_bytes"] / 1e6 for side in (them, us)]
    table.add_row("peak memory", f"{peak[0]:.0f} MB", f"{peak[1]:.0f} MB", f"{peak[1] / peak[0]:.2f} of it")
    return table


if __name__ == "__main__":
    main()
