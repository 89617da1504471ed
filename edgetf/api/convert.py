"""`edgetf.convert`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetf.api.cache import facts, folder_for, is_settled
from edgetf.api.given import names_of
from edgetf.api.models import inputs_of, path_of_model
from edgetf.api.results import Variants
from edgetf.api.samples import source_of_samples
from edgetf.benchmarks.runtime_check import prove
from edgetf.console.progress import progress
from edgetf.conversion.contract import is_runtime
from edgetf.conversion.convert import ConvertOptions
from edgetf.conversion.convert import convert as run
from edgetf.conversion.origin import describe
from edgetf.conversion.ranges import Choice, RangeChoice
from edgetf.defaults import CALIBRATION
from edgetf.device.devices import find_settings
from edgetf.device.probe import runtime_of
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent
from edgetf.pixels import PixelMap, parse_map
from edgetf.results import read_conversion


def convert(
    model: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    samples: Any = None,
    schemes: str | Sequence[str] = (),
    like: Any = None,
    calibration: int = CALIBRATION,
    shapes: Mapping[str, Sequence[int]] | None = None,
    percentile: float | None = None,
    mse: bool = False,
    ranges: str | os.PathLike[str] | None = None,
    signature: str | None = None,
    runtime: str | None = None,
    select_tf_ops: bool = False,
    keep_float: str | Sequence[str] = (),
    pixels: str | Mapping[str, str] = "",
    allow_nan: bool = False,
    trust: bool = False,
    force: bool = False,
    on_event: OnEvent | None = None,
) -> Variants:
    """Convert a model to TFLite variants, as `edgetf convert` does.

    Parameters
    ----------
    model
        A Keras model (Keras 3 or tf_keras), a `tf.Module` with a signature, or a path: a SavedModel folder, a `.keras`
        or `.h5` file, `hub:PATH_OR_HANDLE`.
    out
        The folder for the results; by default one in the user's cache. The same model, samples and options have the
        same folder.
    samples
        Representative samples for calibration: an array of shape (n, ...), `(x, y)`, a dict by input name, a
        `tf.data.Dataset`, or a path.
    schemes
        Names of schemes; by default all that suit the model.
    like
        Samples known to be right: warns if `samples` have another range.
    calibration
        The number of samples to use.
    shapes
        Shapes of inputs by name; other free batch axes become 1.
    percentile, mse
        How ranges are chosen: to hold this percentage of the values, or with the least squared error.
    ranges
        "auto" (the default) tries min-max, the 99.99th percentile and the least squared error on samples that are held
        out, "minmax" takes the smallest and largest values; or the `ranges.json` of an earlier conversion, instead of
        samples.
    signature
        The signature to convert; by default `serving_default`, or the only one.
    runtime
        The runtime that must load the variants: "tflite-runtime==2.14", or the name of a device.
    select_tf_ops
        Allow TensorFlow's own operations; the variant then needs the Flex delegate.
    keep_float
        Names of Keras layers, or patterns of them, that stay in float32 in quantized variants.
    pixels
        The variants take uint8 pixels, and map them to what the model takes: "0..1", "-1..1", or
        "mean=123.7,116.3,103.5 std=58.4,57.1,57.4", which makes each channel (pixel - mean) / std; or a dict of these
        by input name. `samples` stay what the model takes.
    allow_nan
        Allow NaN in samples, for a model that imputes them.
    trust
        Load a Keras file that contains code.
    force
        Replace existing results.
    on_event
        A function that receives the events of `edgetf.events`; by default a progress bar is shown on standard error.

    Returns
    -------
    Variants
        By scheme: `["int8"].path`, `.bytes`, `.status`. A scheme that failed has the reason in `.error`.

    Raises
    ------
    EdgetfError
        If nothing can be converted: not a model, unsuitable samples, a folder that cannot be written.

    Examples
    --------
    >>> variants = edgetf.convert(model, "out", samples=x_train[:500], schemes=["float32", "int8"])
    >>> variants["int8"].path
    PosixPath('out/int8.tflite')
    """
    path = path_of_model(model)
    inputs = inputs_of(model, path, signature, trust)
    choice, file = _ranges(percentile, mse, ranges)
    options = ConvertOptions(
        schemes=names_of(schemes),
        samples=None if samples is None else source_of_samples(samples, inputs),
        like=None if like is None else source_of_samples(like, inputs),
        calibration=calibration,
        signature=signature,
        shapes={name: tuple(shape) for name, shape in (shapes or {}).items()},
        choice=choice,
        ranges=file,
        select_tf_ops=select_tf_ops,
        trust=trust,
        runtime=_runtime(runtime),
        keep_float=names_of(keep_float),
        pixels=_maps(pixels),
        allow_nan=allow_nan,
        force=force,
    )
    folder = Path(out) if out is not None else folder_for("convert", describe(path).digest, facts(options))
    if out is None:
        known = read_conversion(folder) if (folder / "conversion.json").is_file() else None
        settled = is_settled(options.samples) and is_settled(options.like)
        if known is not None and settled and not force and all(one.error is None for one in known.variants):
            return Variants(folder, known)
        options = replace(options, force=True)
    with progress("Converting", on_event) as report:
        conversion = run(path, folder, options, report)
        if options.runtime is not None and options.samples is not None:
            conversion = prove(folder, conversion, options.samples, options.runtime, report)
    return Variants(folder, conversion)


def _ranges(
    percentile: float | None, mse: bool, ranges: str | os.PathLike[str] | None
) -> tuple[RangeChoice, Path | None]:
    """How ranges are chosen, and the file that they are read from instead."""
    if (percentile is not None) + mse + (ranges is not None) > 1:
        raise EdgetfError("percentile, mse and ranges exclude each other", "give one of them")
    if percentile is not None:
        return RangeChoice(Choice.PERCENTILE, percentile), None
    if mse or ranges is None or ranges in (Choice.AUTO.value, Choice.MINMAX.value):
        return RangeChoice(Choice.MSE if mse else Choice(ranges or Choice.AUTO)), None
    return RangeChoice(), Path(ranges)


def _maps(pixels: str | Mapping[str, str]) -> dict[str, PixelMap]:
    """The maps by input name; "" is the only float input."""
    given = {"": pixels} if isinstance(pixels, str) and pixels else pixels or {}
    return {name: parse_map(text) for name, text in dict(given).items()}


def _runtime(named: str | None) -> str | None:
    """A runtime with its version; if `named` is a device, the device's runtime."""
    if named is None or is_runtime(named):
        return named
    return runtime_of(named, find_settings(named, None))
