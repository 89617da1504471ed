"""Which way a scheme is made: from one float conversion and one calibration, or by the official converter.

The fast way serves all schemes from one float flatbuffer and one set of Ranges. What it cannot do (values inside of
loops and LSTMs, a TensorFlow without the private entry points) goes the official way, and the variant says which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property, partial
from pathlib import Path

from edgetf.convert.calibrate import LOOPS, OnProgress, calibrate, why_not, write_ranges
from edgetf.convert.contract import Target, find_problems
from edgetf.convert.mend import has_empty_variables, mend
from edgetf.convert.official import configure, convert_official
from edgetf.convert.private import load_private
from edgetf.convert.ranges import RangeChoice, Ranges
from edgetf.convert.savedmodel import freeze_variables, is_trained_for_int8, save_with_shapes
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import count_ops, parse_contents, unpack, weight_types
from edgetf.results import Calibration, Source
from edgetf.samples import CALIBRATION_SEED, Samples
from edgetf.schemes import SCHEMES, Scheme

_FROZEN = "variables that the converter left empty (it would give NaN, or worse) were frozen into the graph"
_LEARNED = "its ranges were learned in training (quantization-aware): no samples were needed"


class Engine(str, Enum):
    """Which way a variant was made."""

    FAST = "fast"
    OFFICIAL = "official"


@dataclass(frozen=True)
class Made:
    """A converted scheme: the flatbuffer, the way it was made, why not the fast one, and what else is to be known."""

    content: bytes
    engine: Engine
    why_official: str | None
    notes: tuple[str, ...]


class Engines:
    """Converts one SavedModel by any number of schemes, doing what they share once."""

    def __init__(
        self,
        saved_model: Path,
        source: Source,
        samples: Samples | None,
        calibration: Calibration | None,
        choice: RangeChoice,
        ranges: Ranges | None,
        flex: bool,
        on_progress: OnProgress,
    ) -> None:
        self._saved_model, self._source = saved_model, source
        self._samples, self._calibration, self._choice = samples, calibration, choice
        self._given, self._flex, self._on_progress = ranges, flex, on_progress
        self._private = load_private()
        self._trained = is_trained_for_int8(Path(source.path))
        self._frozen: Path | None = None

    def make(self, scheme: Scheme, why_official: str | None, target: Target | None = None) -> Made:
        """Convert by `scheme`, the official way where there is a reason to, and so that `target` can load it.

        Raises EdgetfError where the target cannot, whatever is tried.
        """
        if self._trained and not is_learned(scheme):
            reason = "the model was trained for int8: its graph fakes that arithmetic and no other"
            raise EdgetfError(reason, "use int8 or int8-io, or convert the model as it was before that training")
        made = self._make(scheme, why_official, per_channel_dense=True)
        if target is None or not (problems := problems_of(made.content, target)):
            return made
        if any("FULLY_CONNECTED" in problem for problem in problems):
            made = self._make(scheme, why_official, per_channel_dense=False)
            note = f"dense layers are quantized per tensor, because {problems[0]}"
            made, problems = replace(made, notes=(*made.notes, note)), problems_of(made.content, target)
        if problems:
            raise EdgetfError("; ".join(problems), "try another scheme, or a newer runtime on the device")
        return made

    def _make(self, scheme: Scheme, why_official: str | None, per_channel_dense: bool) -> Made:
        if self._trained and scheme.needs_samples:
            scheme = replace(scheme, activations="float32")  # the converter takes the ranges that the graph has
        if why_official is not None:
            if scheme.needs_samples and self._samples is None:
                raise EdgetfError(f"the given ranges cannot be used: {why_official}", "give --samples as well")
            content = convert_official(
                self._saved_model, self._source, scheme, self._samples, self._flex, self._on_progress
            )
            content, notes = mend(content)
            if scheme.needs_samples and self._choice.needs_values:
                notes += (
                    "its ranges are the smallest and largest values: the official converter knows no other choice",
                )
            engine = Engine.OFFICIAL
        else:
            content, notes = self._fast(scheme, per_channel_dense)
            engine = Engine.FAST
        notes += _needs_flex(content) + _nothing_quantized(scheme, content) + _keeps_state(content)
        return Made(content, engine, why_official, notes)

    @cached_property
    def ranges(self) -> Ranges:
        """The Ranges that were given, or else calibrated now."""
        if self._given is not None:
            return self._given
        assert self._samples is not None
        assert self._calibration is not None
        return calibrate(self._float, self._samples, self._calibration, self._choice, self._on_progress)

    @property
    def calibrated(self) -> Ranges | None:
        """The Ranges, where some scheme has used them."""
        return self.__dict__.get("ranges")

    def ranges_on(self, samples: Samples) -> Ranges:
        """The ranges that the same activations take on other samples."""
        calibration = Calibration(samples.used(), len(samples), CALIBRATION_SEED)
        return calibrate(self._float, samples, calibration, self._choice, lambda done, of: None)

    def why_official(self, scheme: Scheme) -> str | None:
        """Why `scheme` cannot be made the fast way, or None where it can."""
        if self._private is None:
            return "this TensorFlow lacks the private entry points that the fast way uses"
        if not scheme.needs_samples or self._trained:
            return None
        return why_not(self._float, scheme)

    @cached_property
    def _float_mended(self) -> tuple[bytes, tuple[str, ...]]:
        """The float flatbuffer that everything else is made from, and what was mended in it."""
        return self._convert(SCHEMES["float32"], per_channel_dense=True)

    def _convert(self, scheme: Scheme, per_channel_dense: bool) -> tuple[bytes, tuple[str, ...]]:
        """Convert the SavedModel by a scheme without calibration, mended, with notes."""
        assert self._private is not None
        setting = partial(configure, scheme=scheme, flex=self._flex, per_channel_dense=per_channel_dense)
        content = self._private.convert(self._saved_model, self._source.signature, setting)
        if has_empty_variables(content) and not self._frozen:
            self._frozen = freeze_variables(self._source, self._saved_model.parent / ".frozen")
            self._saved_model = save_with_shapes(replace(self._source, path=str(self._frozen)), self._saved_model)
            content = self._private.convert(self._saved_model, self._source.signature, setting)
        content, notes = mend(content)
        return content, notes + ((_FROZEN,) if self._frozen else ())

    @property
    def _float(self) -> bytes:
        return self._float_mended[0]

    @cached_property
    def _with_ranges(self) -> bytes:
        return write_ranges(self._float, self.ranges)

    def _fast(self, scheme: Scheme, per_channel_dense: bool) -> tuple[bytes, tuple[str, ...]]:
        """The flatbuffer and the notes on it."""
        assert self._private is not None
        if scheme == SCHEMES["float32"]:
            return self._float_mended
        if not scheme.needs_samples:
            content, notes = self._convert(scheme, per_channel_dense)
            return content, notes + ((_LEARNED,) if self._trained else ())
        if scheme.activations == "int16":
            return self._private.quantize_int16x8(self._with_ranges), self._float_mended[1]
        loops = LOOPS & set(count_ops(self._float))
        told = f"what is inside of {', '.join(sorted(loops))} stays float32: the quantizer leaves loops alone"
        notes = self._float_mended[1] + ((told,) if loops else ())
        return self._private.quantize_int8(self._with_ranges, scheme.io, per_channel_dense), notes


def is_learned(scheme: Scheme) -> bool:
    """Whether a model that was trained for int8 can be had by `scheme`."""
    return scheme.activations == "int8"


def problems_of(content: bytes, target: Target) -> tuple[str, ...]:
    """Why `target` would refuse this flatbuffer."""
    return find_problems(parse_contents("it", content), target)


def _nothing_quantized(scheme: Scheme, content: bytes) -> tuple[str, ...]:
    """A note where the converter left all weights in float: it passes over tensors of fewer than 1,024 elements."""
    if scheme.weights != "int8" or "int8" in weight_types(content):
        return ()
    return ("no weights were quantized: all tensors are smaller than the converter's least, 1,024 elements",)


def _keeps_state(content: bytes) -> tuple[str, ...]:
    """A note where ops have a state that outlives a run, which Keras does not have."""
    model, _ = unpack(content)
    if not any(tensor.isVariable for graph in model.subgraphs for tensor in graph.tensors):
        return ()
    return ("it keeps its state from run to run: call reset_all_variables() before each sequence, as the runner does",)


def _needs_flex(content: bytes) -> tuple[str, ...]:
    flex = sorted(name.removeprefix("Flex") for name in count_ops(content) if name.startswith("Flex"))
    return (f"needs the Flex delegate, for {', '.join(flex)}",) if flex else ()
