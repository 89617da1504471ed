"""How a scheme is made: from a shared float conversion and calibration (fast), or by the official converter.

The fast way makes all schemes from one float flatbuffer and one set of Ranges. It cannot quantize values inside of
loops and LSTMs, and it needs TensorFlow's private entry points. Otherwise the official way is used. The variant records
which.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from edgetf.conversion.apart import convert_apart
from edgetf.conversion.calibrate import LOOPS, Calibrator, OnProgress, calibrate, why_not, write_ranges
from edgetf.conversion.choose_ranges import MINMAX
from edgetf.conversion.contract import RuntimeVersion, problems_of
from edgetf.conversion.dynamic import unpack_depthwise
from edgetf.conversion.factors import with_factors
from edgetf.conversion.halves import to_float16
from edgetf.conversion.hybrid import to_dynamic
from edgetf.conversion.improve import Basis, Improver
from edgetf.conversion.indices import keep_indices
from edgetf.conversion.informing import lines_on
from edgetf.conversion.known_faults import has_empty_variables, has_states, repair_faults, writes_variables
from edgetf.conversion.loops import restore_loops
from edgetf.conversion.memory import refuse_without_memory
from edgetf.conversion.official import configure, convert_official
from edgetf.conversion.pixels import with_known_ranges
from edgetf.conversion.private import load_private
from edgetf.conversion.prune import prune
from edgetf.conversion.ranges import Choice, RangeChoice, Ranges
from edgetf.conversion.repairs import not_tried
from edgetf.conversion.request import Engine, is_learned
from edgetf.conversion.savedmodel import compute_dtype, freeze_variables, is_trained_for_int8, save_with_shapes
from edgetf.conversion.scales import repair_scales
from edgetf.conversion.translate import explain_int16x8
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import count_ops, unpack, weight_types
from edgetf.pixels import PixelMap
from edgetf.results import Calibration, Repair, RepairKind, Source
from edgetf.samples import CALIBRATION_SEED, Samples
from edgetf.schemes import SCHEMES, Scheme

_FROZEN = "variables that the converter left empty (NaN or random values) were replaced by constants or initialized"
_UNPACKED = "its memory is that of float32: the interpreter unpacks the weights when it loads them"
_NEAREST = "its weights are rounded to the nearest step: with --samples they are rounded for what the layers get"
_DEPTHWISE = "DEPTHWISE_CONV_2D computes in float32, which XNNPACK runs in one piece with the rest ({} operations)"
_KEPT = "{} constant(s) stay float32, because float16 cannot hold them to 1 %: {}"
_LEARNED = "its ranges were learned in quantization-aware training: no samples were needed"


@dataclass(frozen=True)
class Made:
    """A converted scheme: the flatbuffer, the engine that made it, the reason for the official one, and notes."""

    content: bytes
    engine: Engine
    why_official: str | None
    notes: tuple[str, ...]
    repairs: tuple[Repair, ...] = ()


@dataclass(frozen=True)
class Observed:
    """Where the ranges of activations come from: samples, and how to choose on them; or Ranges that are `given`.

    Inputs that take pixels have the range of all pixels, by the `maps` of these to the model's values.
    """

    samples: Samples | None
    calibration: Calibration | None
    choice: RangeChoice = RangeChoice()
    given: Ranges | None = None
    maps: Mapping[str, PixelMap] = field(default_factory=dict)


class Engines:
    """Converts one SavedModel by any number of schemes. Shared steps run once.

    `float_made` and `calibrated` are the float flatbuffer and the Ranges, once a scheme has needed them; `maps` are
    those of inputs that are to take pixels, which no flatbuffer has yet.
    """

    def __init__(
        self, saved_model: Path, source: Source, observed: Observed, flex: bool, on_progress: OnProgress
    ) -> None:
        self._saved_model, self._source = saved_model, source
        self._samples, self._calibration = observed.samples, observed.calibration
        self._choice, self._given, self.maps = observed.choice, observed.given, observed.maps
        self._flex, self._on_progress = flex, on_progress
        self.float_made: bytes | None = None
        self.calibrated: Ranges | None = None
        self._private = load_private()
        self._trained = is_trained_for_int8(Path(source.path))
        self._frozen: Path | None = None

    def make(self, scheme: Scheme, why_official: str | None, target: RuntimeVersion | None = None) -> Made:
        """Convert by `scheme` for `target`; the official way if `why_official` gives a reason.

        Raises EdgetfError if no conversion can be loaded by the target.
        """
        if self._trained and not is_learned(scheme):
            reason = "the model was trained for int8: its graph simulates int8 arithmetic only"
            able = " or ".join(name for name, row in SCHEMES.items() if is_learned(row))
            raise EdgetfError(reason, f"use {able}, or convert the model without quantization-aware training")
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
            scheme = replace(scheme, activations="float32")  # the converter uses the ranges in the graph
        repairs: tuple[Repair, ...] = ()
        engine = Engine.FAST if why_official is None else Engine.OFFICIAL
        if scheme.unpacks and scheme.weights == "int8":
            content, notes, repairs = self._unpacking(why_official)
        elif why_official is not None:
            if scheme.needs_samples and self._samples is None:
                raise EdgetfError(f"the given ranges cannot be used: {why_official}", "give --samples as well")
            content, notes = convert_official(
                self._saved_model, self._source, scheme, self._samples, self._flex, self._on_progress
            )
            if scheme.weights == "int8":
                if self.float_made is not None:  # not after a crash
                    content = restore_loops(content, self.float_made)
                content, scale_notes = repair_scales(content, None)
                notes += scale_notes
            if scheme.needs_samples and self._choice.how is Choice.AUTO:
                repairs = (not_tried(RepairKind.RANGES, "the official converter supports min-max only"),)
            elif scheme.needs_samples and self._choice.needs_values:
                notes += (
                    "its ranges are the smallest and largest values: the official converter supports no other choice",
                )
            content = prune(content)
        else:
            content, notes, repairs = self._fast(scheme, per_channel_dense)
        notes += lines_on("whether it needs the Flex delegate", lambda: _needs_flex(content))
        notes += lines_on("whether weights were quantized", lambda: _nothing_quantized(scheme, content))
        notes += lines_on("whether it keeps state between runs", lambda: _keeps_state(content))
        return Made(content, engine, why_official, notes, repairs)

    def _unpacking(self, why_official: str | None) -> tuple[bytes, tuple[str, ...], tuple[Repair, ...]]:
        """int8 constants in the float flatbuffer. Where something crashed, nothing is run on samples again."""
        if why_official is None:
            exact, notes, improver = self._float, self._float_repaired[1], self._improver
        else:
            exact, notes = convert_official(
                self._saved_model, self._source, SCHEMES["float32"], None, self._flex, self._on_progress
            )
            improver = Improver(exact, None)
        content, repairs = improver.weights()
        if "int8" not in weight_types(content):
            return content, notes, repairs
        notes += (_UNPACKED,) if repairs else (_UNPACKED, _NEAREST)
        if len(content) >= len(exact):
            notes += ("it is not smaller than float32: the scales take more bytes than int8 saves",)
        return content, notes, repairs

    @cached_property
    def computes(self) -> str:
        """The floating-point types that the model's graph computes with."""
        return compute_dtype(self._source)

    @cached_property
    def _improver(self) -> Improver:
        return Improver(self._float, self._samples)

    @cached_property
    def ranges(self) -> Ranges:
        """The given Ranges, or calibrated ones."""
        self.calibrated = self._chosen[0] if self._given is None else self._given
        return self.calibrated

    @cached_property
    def _chosen(self) -> tuple[Ranges, tuple[Repair, ...]]:
        """The Ranges that suit int8, and how they were chosen."""
        assert self._samples is not None
        assert self._calibration is not None
        if self._choice.how is not Choice.AUTO:
            return calibrate(self._float, self._samples, self._calibration, self._choice, self._on_progress), ()
        return self._improver.ranges(
            self._calibrator(self._float), lambda ranges: self._quantize_to_try(Basis(self._float, ranges))
        )

    def _calibrator(self, float32: bytes) -> Calibrator:
        assert self._samples is not None
        assert self._calibration is not None
        return Calibrator(float32, self._samples, self._calibration, self._on_progress)

    def _quantize_to_try(self, basis: Basis) -> bytes:
        return self._quantize(basis, "float32", per_channel_dense=True)[0]

    @cached_property
    def _basis(self) -> Basis:
        """What int8 is made of."""
        plain = Basis(self._float, self.ranges, self._chosen[1] if self._given is None else ())
        if self._given is not None or self._choice.how is not Choice.AUTO:
            return plain
        return self._improver.equalize(plain, self._calibrator, self._quantize_to_try)

    @cached_property
    def _widest(self) -> Ranges:
        """The Ranges for 16 bits: minimum and maximum, because steps so fine leave no reason to clip outliers."""
        if self._given is not None or self._choice.how is not Choice.AUTO:
            return self.ranges
        assert self._samples is not None
        assert self._calibration is not None
        widest = calibrate(self._float, self._samples, self._calibration, MINMAX, self._on_progress)
        self.calibrated = self.calibrated or widest
        return widest

    def ranges_on(self, samples: Samples) -> Ranges:
        """The ranges of the same activations on other samples."""
        calibration = Calibration(samples.used(), len(samples), CALIBRATION_SEED)
        choice = MINMAX if self._choice.how is Choice.AUTO else self._choice
        return calibrate(self._float, samples, calibration, choice, lambda done, of: None)

    def why_official(self, scheme: Scheme) -> str | None:
        """The reason why `scheme` cannot be made the fast way, or None."""
        if self._private is None:
            return "this TensorFlow lacks the private entry points that the fast way uses"
        if not scheme.needs_samples or self._trained:
            return None
        return why_not(self._float, scheme)

    @cached_property
    def _float_repaired(self) -> tuple[bytes, tuple[str, ...]]:
        """The float flatbuffer that all schemes are made from, and notes on its repairs."""
        content, notes = self._convert(SCHEMES["float32"], per_channel_dense=True)
        self.float_made = content
        return content, notes

    def _convert(self, scheme: Scheme, per_channel_dense: bool) -> tuple[bytes, tuple[str, ...]]:
        """Convert the SavedModel by a scheme without calibration, and repair it; returns notes too."""
        assert self._private is not None
        setting = partial(configure, scheme=scheme, flex=self._flex, per_channel_dense=per_channel_dense)
        convert = self._private.convert
        if scheme == SCHEMES["float32"]:
            convert = self._private.convert_float
            if large := self._convert_large(setting):
                return large
        refuse_without_memory(self._saved_model, self._source.signature)
        content = convert(self._saved_model, self._source.signature, setting)
        if has_empty_variables(content) and not self._frozen:
            self._frozen = freeze_variables(self._source, self._saved_model.parent / ".frozen")
            self._saved_model = save_with_shapes(replace(self._source, path=str(self._frozen)), self._saved_model)
            content = convert(self._saved_model, self._source.signature, setting)
        content, notes = repair_faults(content)
        return prune(content), notes + ((_FROZEN,) if self._frozen else ())

    def _convert_large(self, setting: Callable[[Any], None]) -> tuple[bytes, tuple[str, ...]] | None:
        """The float flatbuffer and its notes, made without the weights; None where that is not possible."""
        assert self._private is not None
        signature, work = self._source.signature, self._saved_model.parent / ".apart"
        convert = partial(self._private.convert_float, signature=signature, configure=setting, fills=True)
        try:
            found = convert_apart(self._saved_model, signature, convert, work)
            if found is None or has_empty_variables(found.content):
                return None
            content, notes = repair_faults(found.content)
            return found.with_constants(prune(content)), notes
        except Exception:  # the conversion of the whole model reports what is wrong with it
            return None
        finally:
            shutil.rmtree(work, ignore_errors=True)

    @property
    def flatbuffer(self) -> bytes:
        """The float flatbuffer that all schemes are made from."""
        return self._float

    @property
    def _float(self) -> bytes:
        return self._float_repaired[0]

    def _fast(self, scheme: Scheme, per_channel_dense: bool) -> tuple[bytes, tuple[str, ...], tuple[Repair, ...]]:
        """The flatbuffer, the notes on it, and its repairs."""
        assert self._private is not None
        if scheme == SCHEMES["float32"]:
            return *self._float_repaired, ()
        if not scheme.needs_samples:
            return self._without_ranges(scheme, per_channel_dense)
        if scheme.activations == "int16":
            try:
                content = self._private.quantize_int16x8(write_ranges(self._float, self._widest), scheme.io)
            except RuntimeError as error:
                raise explain_int16x8(str(error), self._float) or error from error
            content, scale_notes = repair_scales(content, self._widest)
            return prune(content), self._float_repaired[1] + scale_notes, ()
        loops = lines_on("which loops stay float32", lambda: _keeps_loops(self._float))
        basis = self._basis
        content, notes = self._quantize(basis, scheme.io, per_channel_dense)
        content, repairs = prune(content), basis.repairs
        if self._choice.how is Choice.AUTO and self._given is None:
            content, biases = self._improver.int8(content, basis.float32)
            repairs += biases
        return with_factors(content, basis.factors), self._float_repaired[1] + notes + loops, repairs

    def _without_ranges(
        self, scheme: Scheme, per_channel_dense: bool
    ) -> tuple[bytes, tuple[str, ...], tuple[Repair, ...]]:
        if self._trained:
            content, notes = self._convert(scheme, per_channel_dense)
            content, scale_notes = repair_scales(content, None)
            return prune(content), (*notes, *scale_notes, _LEARNED), ()
        if scheme.weights == "float16":
            content, kept = to_float16(self._float)
            notes = (_KEPT.format(len(kept), ", ".join(kept[:3])),) if kept else ()
            return prune(content), self._float_repaired[1] + notes, ()
        hybrid = to_dynamic(self._float, per_channel_dense)
        if hybrid is None:
            return self._dynamic(*self._convert(scheme, per_channel_dense))
        return self._dynamic(prune(hybrid), self._float_repaired[1])

    def _quantize(self, basis: Basis, io: str, per_channel_dense: bool) -> tuple[bytes, tuple[str, ...]]:
        """The float flatbuffer in int8 with its ranges, and the notes on it."""
        assert self._private is not None
        inputs = self._samples.inputs if self._samples else {}
        ranged, exact = keep_indices(write_ranges(basis.float32, basis.ranges), io, inputs)
        ranged = with_known_ranges(ranged, self.maps)
        quantized = self._private.quantize_int8(ranged, io, per_channel_dense)
        content, scale_notes = repair_scales(restore_loops(quantized, basis.float32), basis.ranges)
        return content, exact + scale_notes

    def _dynamic(self, content: bytes, notes: tuple[str, ...]) -> tuple[bytes, tuple[str, ...], tuple[Repair, ...]]:
        """The flatbuffer for hybrid kernels, improved."""
        content, unpacked = unpack_depthwise(content)
        notes += (_DEPTHWISE.format(unpacked),) if unpacked else ()
        if self._samples is None:
            return prune(content), notes, ()
        content, repairs = self._improver.dynamic(prune(content))
        return content, notes, repairs


def _nothing_quantized(scheme: Scheme, content: bytes) -> tuple[str, ...]:
    """A note if all weights were left in float: the converter skips tensors of fewer than 1,024 elements."""
    if scheme.weights != "int8" or "int8" in weight_types(content):
        return ()
    if scheme.unpacks:
        return ("no weights were quantized: the scales would take more bytes than int8 saves",)
    return ("no weights were quantized: all tensors are smaller than the converter's minimum of 1,024 elements",)


def _keeps_loops(float32: bytes) -> tuple[str, ...]:
    """A note on int8 variants of a model with loops or branches."""
    loops = ", ".join(sorted(LOOPS & set(count_ops(float32))))
    return (f"the body of {loops} stays float32: the quantizer does not quantize loops",) if loops else ()


def _keeps_state(content: bytes) -> tuple[str, ...]:
    """A note if ops or variables keep state between runs."""
    model, schema = unpack(content)
    if writes_variables(model, schema):
        return ("it keeps state between runs in variables: only loading it again resets them",)
    if not has_states(content):
        return ()
    return ("it keeps state between runs: call reset_all_variables() before each sequence, as the runner does",)


def _needs_flex(content: bytes) -> tuple[str, ...]:
    flex = sorted(name.removeprefix("Flex") for name in count_ops(content) if name.startswith("Flex"))
    return (f"needs the Flex delegate, for {', '.join(flex)}",) if flex else ()
