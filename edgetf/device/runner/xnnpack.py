"""XNNPACK in float16, or with its weights kept in a file: what LiteRT offers only by its CompiledModel.

In: a `.tflite` file and the options of the delegate. Out: an Interpreter for `interpreter.Session`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from .answers import in_one_line
from .compiled_model import CompiledModel
from .delegates import WEIGHT_CACHE
from .isolate import run_children
from .job import Coverage, Job, JobError
from .outputs import open_session

# TFLITE_XNNPACK_DELEGATE_FLAG_QS8, _QU8 and _FORCE_FP16 of xnnpack_delegate.h; the first two are the default
_DEFAULT, _FP16 = 0x1 | 0x2, 0x4
FLOAT16 = "float16"


class Interpreter(CompiledModel):
    """A variant on XNNPACK. With the accelerator FLOAT16, float32 operations are computed in float16.

    `options` are those of the delegate; the value of WEIGHT_CACHE is the file (see `with_cache`). Raises JobError with
    the reason if XNNPACK refuses the variant.
    """

    def __init__(
        self, model_path: str, num_threads: int = 1, accelerator: str = "", options: Mapping[str, str] | None = None
    ) -> None:
        self._flags = _DEFAULT | _FP16 if accelerator == FLOAT16 else _DEFAULT
        self._cache = (options or {}).get(WEIGHT_CACHE, "")
        super().__init__(model_path, num_threads)

    def _options(self, litert: Any, threads: int) -> Any:
        return litert.Options(
            hardware_accelerators=litert.HardwareAccelerator.CPU,
            cpu_options=litert.CpuOptions(
                num_threads=threads, xnnpack_flags=self._flags, xnnpack_weight_cache_path=self._cache
            ),
        )

    def _why_not(self, raised: str, log: str) -> str:
        if self._flags & _FP16 and "XNNPACK" in f"{raised}{log}":
            return f"XNNPACK cannot run it in float16: does the CPU compute in float16? {in_one_line(raised)}"
        return f"XNNPACK cannot run it: {in_one_line(raised)}"

    def invoke(self) -> None:
        """Run: nothing is left to wait for, and TFLite's own interpreter, with which times are compared, only runs."""
        self.run()

    def get_tensor(self, index: int) -> np.ndarray[Any, Any]:
        return self.read(index)

    def coverage(self, accelerator: str) -> Coverage:
        """Raise JobError: LiteRT does not report it, and another run may be taken otherwise."""
        raise JobError(f"LiteRT's CompiledModel does not report what {accelerator} took")


@contextmanager
def with_cache(job: Job, out: Path) -> Iterator[Job]:
    """The job, if it asks for a weight cache with a file in `out` that a first run has filled, removed afterwards.

    So what is timed is the second start of an application. Raises ChildError if the variant cannot be loaded.
    """
    if job.delegate_options.get(WEIGHT_CACHE, "false") == "false":
        yield job
        return
    with TemporaryDirectory(prefix=".weights-", dir=out) as folder:
        kept = replace(job, delegate_options={**job.delegate_options, WEIGHT_CACHE: str(Path(folder) / "weights")})
        run_children([lambda send: _fill(kept)], lambda event: None)
        yield kept


def _fill(job: Job) -> dict[str, Any]:
    open_session(job, job.threads)
    return {}
