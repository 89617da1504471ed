"""Every format that edgetf reads: sound files, how they are damaged, and every use of an accepted one."""

from __future__ import annotations

from tests.fuzz import answers, arrays, documents, models, written
from tests.fuzz.core import Format, Made

FAST = (
    *("benchmark.json", "reference.json", "conversion.json", "measurement.json", "ladder", "ranges.json"),
    "tuning.json",
    *("training.json", "devices.toml", "budgets.toml", "job.json", "progress.json of a reference"),
    *("progress.json of a benchmark", "bundle", "history", "npz", "npy", "timings.npz", "images", "tflite"),
    *("keras", "h5", "answers of probe", "answers of a phone", "benchmark_model", "profile", "vcgencmd", "/proc"),
)
WITH_TENSORFLOW = ("tfrecord", "tfrecord.json", "saved_model.pb", "variables")


def all_formats(made: Made) -> dict[str, Format]:
    """The formats by name, with seeds from the real files in `made`."""
    every = [part.formats(made) for part in (documents, written, arrays, models)]
    return {one.name: one for part in [*every, answers.formats()] for one in part}
