"""Every format that edgetf reads: sound files, how they are damaged, and every use of an accepted one.

WITH_TENSORFLOW are those whose parser is TensorFlow's, BY_A_CHILD those that only a process of their own reads.
"""

from __future__ import annotations

from tests.fuzz import answers, arrays, documents, models, written
from tests.fuzz.core import Format, Made

FAST = (
    *("benchmark.json", "reference.json", "conversion.json", "measurement.json", "ladder", "ranges.json"),
    "tuning.json",
    *("training.json", "devices.toml", "budgets.toml", "job.json", "progress.json of a reference"),
    *("progress.json of a benchmark", "bundle", "history", "npz", "npy", "timings.npz", "images", "tflite"),
    *("factors", "pixels"),
    *("answers of probe", "answers of a phone", "benchmark_model", "vela", "profile", "vcgencmd", "/proc"),
    *("bytes of local", "bytes over SSH", "notes.json", ".edgetf-partial-devices.json", "moves.json"),
    *("edgetf.toml", "run.json"),
)
WITH_TENSORFLOW = ("tfrecord", "tfrecord.json", "saved_model.pb", "variables")
BY_A_CHILD = ("keras", "h5")  # only a process of its own reads them
NAMES = (*FAST, *WITH_TENSORFLOW, *BY_A_CHILD)


def all_formats(made: Made) -> dict[str, Format]:
    """The formats by name, with seeds from the real files in `made`."""
    every = [part.formats(made) for part in (documents, written, arrays, models)]
    return {one.name: one for part in [*every, answers.formats()] for one in part}
