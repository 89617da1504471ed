"""What a runtime can load: the ops of a variant against those that the runtime registers.

The table beside this file was measured, not copied: every runtime was asked for every version of every op (see
`tests/registered_ops.py`). It says whether a variant loads; whether it then computes rightly only a run can tell.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgetf.errors import EdgetfError, nearest
from edgetf.flatbuffer import Contents, Op

# names that users give a runtime, and its package
RUNTIMES = {"tflite-runtime": "tflite-runtime", "litert": "ai-edge-litert", "ai-edge-litert": "ai-edge-litert"}


@dataclass(frozen=True)
class Target:
    """A runtime that variants are for: the package and its full version."""

    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"

    @property
    def runtime(self) -> str:
        """Its name for the runner."""
        return "tflite-runtime" if self.package == "tflite-runtime" else "litert"


def find_target(text: str) -> Target:
    """The measured runtime that `text` means: `tflite-runtime==2.14`, or `litert` for the newest.

    A version means the newest that begins with it. Raises EdgetfError naming those that are known.
    """
    name, _, version = text.partition("==")
    package = RUNTIMES.get(name.strip())
    known = [key.split("==") for key in _registered()]
    versions = [v for p, v in known if p == package and f"{v}.".startswith(f"{version.strip()}." if version else "")]
    if package is None or not versions:
        raise EdgetfError(f"unknown runtime {text!r}", nearest(text, _registered()))
    return Target(package, versions[-1])


def find_problems(contents: Contents, target: Target) -> tuple[str, ...]:
    """Why `target` would refuse the variant, op by op; empty where it loads."""
    problems = []
    for op in contents.ops:
        latest = _registered()[f"{target.package}=={target.version}"].get(op.name)
        if op.name.startswith("Flex"):
            problems.append(f"{op.name.removeprefix('Flex')} needs the Flex delegate, which {target} lacks")
        elif latest is None and _is_builtin(op.name):
            problems.append(f"{target} has no {op.name}")
        elif latest is None:
            problems.append(f"{target} does not know the custom op {op.name}")
        elif op.version > latest:
            problems.append(f"{target} has {op.name} up to version {latest}, the variant has {op.version}")
    return tuple(problems)


def smallest_runtimes(ops: Sequence[Op]) -> tuple[Target, ...]:
    """The oldest version of each package that registers all `ops`; none where no measured version does."""
    found: dict[str, Target] = {}
    for key, registered in _registered().items():
        package, version = key.split("==")
        if package not in found and all(registered.get(op.name, 0) >= op.version for op in ops):
            found[package] = Target(package, version)
    return tuple(found.values())


def _is_builtin(name: str) -> bool:
    return any(name in registered for registered in _registered().values())


@cache
def _registered() -> dict[str, dict[str, int]]:
    """The latest version of each op, by runtime, oldest first."""
    table: dict[str, dict[str, int]] = json.loads(Path(__file__).with_name("registered_ops.json").read_text())
    return table
