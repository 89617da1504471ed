"""A model that fails on a sample. In: the exception of TensorFlow. Out: one line with the sample and the operation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

from edgetf.errors import EdgetfError, one_line
from edgetf.samples import Array, Samples

Ask = Callable[[Mapping[str, Array]], Mapping[str, Array]]

_NODE = re.compile(r"\{\{node ([^}]+)\}\}|Detected at node (\S+)")
# lines of TensorFlow's messages that have the place, not the reason
_FRAME = re.compile(r'Graph execution|Detected at node|<stack traces|Traceback|\s*File "|\s*\[\[|\s{4}|\d+ root error')
_LONGEST = 300
_HINT = "is the sample what the model expects? correct it, or the model"


class RefusedError(Exception):
    """The model failed in `operation` (empty if it is unknown); the message is the reason."""

    def __init__(self, error: Exception) -> None:
        message = str(getattr(error, "message", error))
        super().__init__(_reason(message) or type(error).__name__)
        found = _NODE.search(message)
        self.operation = one_line(found[1] or found[2], _LONGEST) if found else ""


def _reason(message: str) -> str:
    lines = [line for line in message[: 100 * _LONGEST].splitlines() if line.strip() and not _FRAME.match(line)]
    return one_line(re.sub(r"\s*\[Op:\S+\]\s*$", "", lines[0]), _LONGEST) if lines else ""


def guarded(call: Ask) -> Ask:
    """`call`, but everything that it raises is a RefusedError: it runs only the model."""

    def ask(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        try:
            return call(inputs)
        except EdgetfError:  # from a server that does not answer
            raise
        except Exception as error:
            raise RefusedError(error) from error

    return ask


def raise_located(error: RefusedError, ask: Ask, samples: Samples, begin: int, end: int) -> NoReturn:
    """Raise EdgetfError for what the model refused among the samples from `begin` to before `end`: try each alone."""
    step = samples.batch
    for k in range(begin, end, step):
        try:
            ask(samples.feed(k, k + step))
        except RefusedError as alone:
            which = (
                f"sample {samples.row(k)}" if step == 1 else f"samples {samples.row(k)} to {samples.row(k) + step - 1}"
            )
            raise EdgetfError(f"TensorFlow refuses the samples: {in_words(which, alone)}", _HINT) from error
    which = f"samples {samples.row(begin)} to {samples.row(end - 1)} together"
    if end - begin == step == 1:  # it has worked before, and alone it works again
        which = f"sample {samples.row(begin)}, not each time"
    raise EdgetfError(f"TensorFlow refuses the samples: {in_words(which, error)}", _HINT) from error


@contextmanager
def locating(
    ask: Ask, samples: Samples, begin: int, end: int, failures: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Enclose runs on the samples from `begin` to before `end`: raise EdgetfError as `raise_located` does for what the
    model refuses. `failures` are what is raised by a function that is not guarded."""
    refused: tuple[type[Exception], ...] = (RefusedError, *failures)
    try:
        yield
    except refused as error:
        raise_located(error if isinstance(error, RefusedError) else RefusedError(error), ask, samples, begin, end)


def in_words(which: str, error: RefusedError) -> str:
    """ "sample 150, in the operation Gather: indices[0,2] = 77 is not in [0, 5)"."""
    return f"{which}{f', in the operation {error.operation}' if error.operation else ''}: {error}"
