"""The memory that TensorFlow's converter needs. In: a SavedModel. Out: an error if this machine does not have it free.

Otherwise the system would end the converter's process, after minutes, without a reason.
"""

from __future__ import annotations

from pathlib import Path

from edgetf.conversion.checkpoint import Checkpoint
from edgetf.conversion.large import bytes_read
from edgetf.conversion.messages import NeedsTensorFlowError
from edgetf.conversion.savedmodel import read_graph
from edgetf.errors import EdgetfError
from edgetf.units import human_bytes

_TIMES = 5  # the bytes of the variables, at least: 5.5 to 8.5 times were measured
_LEAST = 1 << 28  # bytes of variables that are worth a look
_MEMORY = Path("/proc/meminfo")


def refuse_without_memory(saved_model: Path, signature: str) -> None:
    """Raise EdgetfError if the converter needs more memory than is free; not if either is unknown."""
    try:
        graph, checkpoint = read_graph(saved_model), Checkpoint(saved_model / "variables" / "variables")
        size, free = bytes_read(graph, signature, checkpoint), _free_bytes()
    except (NeedsTensorFlowError, KeyError, ValueError, IndexError, AttributeError):
        return
    if free is not None and size > _LEAST and size * _TIMES > free:
        weights, needed, left = (human_bytes(one) for one in (size, size * _TIMES, free))
        message = f"TensorFlow's converter needs {needed} of memory for {weights} of variables, and {left} are free"
        raise EdgetfError(message, "end other programs, or convert it on a machine with more memory")


def _free_bytes() -> int | None:
    """Memory and swap space that processes can have; None if this system does not report it."""
    try:
        lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
        return sum(int(lines[name].split()[0]) * 1024 for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError, IndexError):
        return None
