"""An extension of griffe: parameters that share a description (`name, other`) get a line each.

Otherwise the page of the Python API would show the type and the default of the first name for all of them.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

SHARED = re.compile(r"^(\w+(?:, \w+)+)\n((?: {4}.*\n?)+)", re.MULTILINE)


class OneByOne(griffe.Extension):
    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        if func.docstring is not None:
            func.docstring.value = SHARED.sub(
                lambda found: "".join(f"{name}\n{found[2].rstrip()}\n" for name in found[1].split(", ")),
                func.docstring.value,
            )
