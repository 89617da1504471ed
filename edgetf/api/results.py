"""The results of the functions of `import edgetf`: frozen, keyed by variant, printed as on the command line.

Every result has its `folder` and its `document`, the content of the JSON file there. `records()` returns one flat row
for each variant on each device, which `to_pandas` and `to_csv` use. Modules that judge are imported when they are used:
`convert` needs no statistics.
"""

from __future__ import annotations

import csv
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from edgetf.api.tables.conversion import show_conversion
from edgetf.api.tables.reference import show_reference
from edgetf.benchmarks.pinned import load_outputs
from edgetf.console.printing import to_html, to_text
from edgetf.errors import EdgetfError, nearest
from edgetf.figures import Latency
from edgetf.results import (
    Benchmark,
    Conversion,
    Failure,
    Parity,
    Reference,
    Result,
    Status,
    Variant,
    Verdict,
    find_benchmarks,
    read_benchmark,
)
from edgetf.samples.mapped import Array
from edgetf.system import explained, naming

if TYPE_CHECKING:
    from pandas import DataFrame


Row = TypeVar("Row")


class Rows(Mapping[str, Row], Generic[Row]):
    """Results by variant; with several devices, by DEVICE/VARIANT."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = dict(rows)

    def __getitem__(self, name: str) -> Row:
        if name not in self._rows:
            raise KeyError(f"{name!r}: {nearest(name, list(self._rows))}")
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self._rows)}>"

    def __str__(self) -> str:
        return to_text(self.show)

    def _repr_html_(self) -> str:
        return to_html(self.show)

    @abstractmethod
    def show(self) -> None:
        """Print the same as the command."""

    @abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """A flat dict for each variant on each device; all have the same keys."""

    def to_pandas(self) -> DataFrame:
        """`records()` as a pandas DataFrame. Raises EdgetfError if pandas is not installed."""
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise EdgetfError("pandas is not installed", "pip install pandas") from error
        return pandas.DataFrame.from_records(self.records())

    def to_csv(self, path: str | Path) -> None:
        """Write `records()` to a CSV file with a header. Raises EdgetfError if that fails."""
        rows = self.records()
        with explained(), naming(Path(path)), Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
            writer.writeheader()
            writer.writerows(rows)


# conversion -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConvertedVariant:
    """A `.tflite` file, or the reason why there is none. `record` is its entry in `conversion.json`."""

    name: str
    path: Path | None
    status: Status
    bytes: int | None
    error: Failure | None
    record: Variant

    def __str__(self) -> str:
        return str(self.path) if self.path else f"{self.status.value}: {self.error.message if self.error else ''}"


class Variants(Rows[ConvertedVariant]):
    """The results of `edgetf.convert` in `folder`, by scheme."""

    def __init__(self, folder: Path, document: Conversion) -> None:
        self.folder, self.document = folder, document
        super().__init__(
            {
                one.scheme: ConvertedVariant(
                    one.scheme, folder / one.path if one.path else None, one.status, one.bytes, one.error, one
                )
                for one in document.variants
            }
        )

    def show(self) -> None:
        show_conversion(self.document, self.folder, everything=False)

    def records(self) -> list[dict[str, Any]]:
        """Scheme, status, path, bytes, duration in seconds, and the reason if there is no file."""
        return [
            {
                "variant": one.name,
                "status": one.status.value,
                "path": str(one.path) if one.path else None,
                "bytes": one.bytes,
                "sha256": one.record.sha256,
                "seconds": one.record.seconds,
                "error": one.error.message if one.error else None,
            }
            for one in self.values()
        ]


# reference ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PinnedReference:
    """The result of `edgetf.reference` in `folder`."""

    folder: Path
    document: Reference

    @property
    def outputs(self) -> Mapping[str, Array]:
        """TensorFlow's outputs by name, mapped from the files: samples along axis 0."""
        return load_outputs(self.document, self.folder).values

    def __str__(self) -> str:
        return to_text(self.show)

    def _repr_html_(self) -> str:
        return to_html(self.show)

    def show(self) -> None:
        show_reference(self.document)


# benchmark ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeasuredVariant:
    """One variant on one device. `record` is its entry in `benchmark.json`.

    `path` is the `.tflite` file, if known; `latency_ms` has the median, its interval (`low`, `high`) and percentiles;
    `verdict` and `reason` are for the default budgets, None without a reference.
    """

    name: str
    device: str
    path: Path | None
    record: Result

    @property
    def status(self) -> Status:
        return self.record.status

    @property
    def latency_ms(self) -> Latency | None:
        return self.record.latency_ms

    @property
    def bytes(self) -> int | None:
        return self.record.bytes

    @property
    def parity(self) -> Parity | None:
        return self.record.parity

    @property
    def verdict(self) -> Verdict | None:
        return self.record.parity.verdict if self.record.parity else None

    @property
    def reason(self) -> str | None:
        return self.record.parity.reason if self.record.parity else None

    def __str__(self) -> str:
        latency = f"{self.latency_ms.median:.4g} ms" if self.latency_ms else "not timed"
        if self.record.arena_bytes is not None:
            latency = f"an arena of {self.record.arena_bytes:,} bytes"
        judged = f", {self.verdict.label}: {self.reason}" if self.verdict and self.reason else ""
        return f"{self.name} on {self.device}: {latency}{judged}"


class Bench(Rows[MeasuredVariant]):
    """The results of `edgetf.benchmark` by variant; with several devices, by DEVICE/VARIANT.

    `folder` contains everything; `documents` and `folders` are by device; `failures` are the errors of devices that
    failed.
    """

    def __init__(
        self,
        folder: Path,
        documents: Mapping[str, tuple[Path, Benchmark]],
        failures: Mapping[str, EdgetfError] | None = None,
    ) -> None:
        self.folder = folder
        self.documents = {device: document for device, (_, document) in documents.items()}
        self.failures = dict(failures or {})
        self.folders = {device: place for device, (place, _) in documents.items()}
        several = len(documents) > 1
        super().__init__(
            {
                f"{device}/{one.variant}" if several else one.variant: MeasuredVariant(
                    one.variant, device, Path(one.path) if one.path else None, one
                )
                for device, document in self.documents.items()
                for one in document.results
            }
        )

    @classmethod
    def read(cls, place: Path) -> Bench:
        """Read the benchmark at `place`: its folder or `benchmark.json`, or the folder of several devices."""
        found: dict[str, tuple[Path, Benchmark]] = {}
        for one in find_benchmarks(place):
            folder, document = one if one.is_dir() else one.parent, read_benchmark(one)
            device = document.results[0].device if document.results else folder.name
            found[device if device not in found else folder.name] = (folder, document)
        return cls(place if place.is_dir() else place.parent, found)

    @property
    def document(self) -> Benchmark:
        """The document of the only device. Raises EdgetfError if there are several: see `on`."""
        if len(self.documents) != 1:
            raise EdgetfError("this benchmark has several devices", f"give one: on({next(iter(self.documents))!r})")
        return next(iter(self.documents.values()))

    def on(self, device: str) -> Bench:
        """The results of one device."""
        if device not in self.documents:
            raise EdgetfError(f"there is no device {device!r} in this benchmark", nearest(device, list(self.documents)))
        place = self.folders[device]
        return Bench(place, {device: (place, self.documents[device])})

    def show(self) -> None:
        from edgetf.api.tables.benchmark import show_benchmark

        for document in self.documents.values():
            show_benchmark(document)

    def records(self) -> list[dict[str, Any]]:
        """The figures of each variant: milliseconds, bytes, points of accuracy, decibels; None if not measured."""
        return [_record(one) for one in self.values()]


def _record(one: MeasuredVariant) -> dict[str, Any]:
    latency, result = one.latency_ms, one.record
    outputs = one.parity.outputs if one.parity else ()
    accuracy = next((output.accuracy for output in outputs if output.accuracy), None)
    agreement = next((output.agreement for output in outputs if output.agreement), None)
    sqnr = [output.sqnr_db for output in outputs if output.sqnr_db is not None]
    return {
        "variant": one.name,
        "device": one.device,
        "status": one.status.value,
        "verdict": one.verdict.value if one.verdict else None,
        "reason": one.reason,
        "median_ms": latency.median if latency else None,
        "low_ms": latency.low if latency else None,
        "high_ms": latency.high if latency else None,
        "p99_ms": latency.p99 if latency else None,
        "end_to_end_ms": result.end_to_end_ms.median if result.end_to_end_ms else None,
        "stable": result.stable,
        "bytes": one.bytes,
        "peak_rss_bytes": result.peak_rss_bytes,
        "arena_bytes": result.arena_bytes,
        "accuracy": accuracy.variant if accuracy else None,
        "drop_points": accuracy.drop_points if accuracy else None,
        "drop_low": accuracy.low if accuracy else None,
        "drop_high": accuracy.high if accuracy else None,
        "agreement": agreement.share if agreement else None,
        "sqnr_db": min(sqnr) if sqnr else None,
        "sha256": result.sha256,
        "error": result.error.message if result.error else None,
    }
