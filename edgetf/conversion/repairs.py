"""Repairs of a quantized flatbuffer are judged on samples that no repair has used.

Some of the samples to calibrate on are held out. A repair is kept if it brings the outputs on these nearer to those of
float32; every repair is recorded, kept or not. If a repair raises, the flatbuffer stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter

import numpy as np

from edgetf.conversion.observe import answers
from edgetf.flatbuffer import count_ops
from edgetf.reading import reason_of
from edgetf.results import Repair, RepairKind, RepairState
from edgetf.samples import Array, Samples

_FEWEST = 8  # inferences of which some can be held out
_HELD, _FIT = 32, 32
_CAP_DB = 200.0  # no error at all, or nothing but error


class NotWorthItError(Exception):
    """A repair would take too long, or gain too little; the text is the reason."""


@dataclass(frozen=True)
class Split:
    """The numbers of inferences: those that repairs may use, and those that are held out to judge them."""

    fit: tuple[int, ...]
    held: tuple[int, ...]

    @property
    def some(self) -> tuple[int, ...]:
        """As many of `fit` as rounding needs, evenly over all."""
        return tuple(self.fit[k] for k in _evenly(len(self.fit), _FIT))


def split_samples(samples: Samples) -> Split:
    """Hold a quarter out, at most 32 inferences, evenly over the samples: they may lie in the order of classes."""
    n = len(samples) // samples.batch
    held = set(_evenly(n, min(_HELD, n // 4)))
    return Split(tuple(k for k in range(n) if k not in held), tuple(sorted(held)))


def _evenly(n: int, count: int) -> list[int]:
    return (
        sorted({int(k) for k in np.linspace(0, n - 1, min(count, n) + 2)[1:-1].round()})
        if n > count
        else list(range(n))
    )


def why_not_judged(float32: bytes, samples: Samples) -> str:
    """Why repairs cannot be judged on these samples; empty if they can."""
    n = len(samples) // samples.batch
    if n < _FEWEST:
        return f"{n} inferences are too few to hold some of them out: {_FEWEST} are needed"
    if any(name.startswith("Flex") for name in count_ops(float32)):
        return "it has operations of the Flex delegate, which LiteRT's wheel lacks"
    return ""


def compared_outputs(exact: Mapping[str, Array]) -> list[str]:
    """The outputs that an SQNR is of: those of real numbers; where there are none, all numbers."""
    real = [name for name, values in exact.items() if np.issubdtype(values.dtype, np.floating)]
    return real or [name for name, values in exact.items() if values.dtype.kind in "biu"]


def sqnr_db(exact: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """The signal-to-quantization-noise ratio of the worst output, about the mean over the samples of each value.

    Only outputs of real numbers count, if there are any. It is within -200 and 200. Raises ValueError if no output can
    be compared.
    """
    worst = []
    for name in compared_outputs(exact):
        if name not in found or found[name].shape != exact[name].shape:
            continue
        right, here = exact[name].astype(np.float64), found[name].astype(np.float64)
        noise = float(np.square(here - right).sum())
        signal = float(np.square(right - right.mean(axis=0)).sum()) or float(np.square(right).sum())
        if not np.isfinite(noise) or not signal:
            worst.append(-_CAP_DB if noise else _CAP_DB)
        else:
            worst.append(float(np.clip(10 * np.log10(signal / noise), -_CAP_DB, _CAP_DB)) if noise else _CAP_DB)
    if not worst:
        raise ValueError("no output of one shape for all samples")
    return min(worst)


class HeldOut:
    """The held-out samples: flatbuffers are judged by how near their outputs on these are to those of float32."""

    def __init__(self, float32: bytes, samples: Samples) -> None:
        self._float32, self._samples = float32, samples
        self.split = split_samples(samples)
        self._known: dict[bytes, float] = {}

    @cached_property
    def _exact(self) -> dict[str, Array]:
        return answers(self._float32, self._samples, self.split.held)

    def score(self, content: bytes) -> float:
        """The SQNR in dB of the worst output."""
        key = hashlib.sha256(content).digest()
        if key not in self._known:
            self._known[key] = sqnr_db(self._exact, answers(content, self._samples, self.split.held))
        return self._known[key]

    def choose(
        self, kind: RepairKind, content: bytes, change: Callable[[], bytes], margin_db: float = 0.0
    ) -> tuple[bytes, Repair]:
        """`content`, or the result of `change` if that is better by at least `margin_db`; and the record."""
        begin, n = perf_counter(), len(self.split.held)
        before: float | None = None
        try:
            before = self.score(content)
            changed = change()
            after = self.score(changed)
        except NotWorthItError as error:
            return content, replace(not_tried(kind, str(error)), before_db=_rounded(before), n=n)
        except Exception as error:  # after any error, the variant stays as it was
            failed = Repair(kind, RepairState.FAILED, _rounded(before), None, n, _since(begin), reason_of(error))
            return content, failed
        kept = after >= before + margin_db
        state = RepairState.KEPT if kept else RepairState.REFUSED
        record = Repair(kind, state, _rounded(before), _rounded(after), n, _since(begin))
        return (changed if kept else content), record


def not_tried(kind: RepairKind, reason: str) -> Repair:
    """The record of a repair that was not tried, with the reason."""
    return Repair(kind, RepairState.NOT_TRIED, None, None, 0, 0.0, reason)


def _rounded(db: float | None) -> float | None:
    return None if db is None else round(db, 2)


def _since(begin: float) -> float:
    return round(perf_counter() - begin, 3)
