"""What a runtime can load: the ops of a variant against those that the runtime registers.

The table `registered_ops.json` was measured: every runtime was tried with every version of every op (see
`tests/registered_ops.py`). It shows whether a variant loads. Only a run shows whether its results are right.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgetf.errors import EdgetfError, nearest
from edgetf.flatbuffer import Contents, Op, parse_contents

# the names that users give to a runtime, and its package
RUNTIMES = {"tflite-runtime": "tflite-runtime", "litert": "ai-edge-litert", "ai-edge-litert": "ai-edge-litert"}


@dataclass(frozen=True)
class RuntimeVersion:
    """The runtime that variants are made for: its package and full version."""

    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"

    @property
    def runtime(self) -> str:
        """The runner's name for it."""
        return "tflite-runtime" if self.package == "tflite-runtime" else "litert"


def is_runtime(text: str) -> bool:
    """Whether `text` names a runtime, known or not, and not a device: `tflite-runtime==2.14`, or `litert`."""
    return "==" in text or text in RUNTIMES


def find_target(text: str) -> RuntimeVersion:
    """The measured runtime that `text` names: `tflite-runtime==2.14`, or `litert` for the newest.

    A partial version selects the newest version that begins with it. Raises EdgetfError for an unknown runtime.
    """
    name, _, version = text.partition("==")
    package = RUNTIMES.get(name.strip())
    known = [key.split("==") for key in _registered()]
    versions = [v for p, v in known if p == package and f"{v}.".startswith(f"{version.strip()}." if version else "")]
    if package is None or not versions:
        raise EdgetfError(f"unknown runtime {text!r}", nearest(text, _registered()))
    return RuntimeVersion(package, versions[-1])


def problems_of(content: bytes, target: RuntimeVersion) -> tuple[str, ...]:
    """The reasons why `target` cannot load this flatbuffer."""
    return find_problems(parse_contents("it", content), target)


def find_problems(contents: Contents, target: RuntimeVersion) -> tuple[str, ...]:
    """The reasons why `target` cannot load the variant, op by op; empty if it can."""
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


def smallest_runtimes(ops: Sequence[Op]) -> tuple[RuntimeVersion, ...]:
    """The oldest version of each package that registers all `ops`; a package without one is left out."""
    found: dict[str, RuntimeVersion] = {}
    for key, registered in _registered().items():
        package, version = key.split("==")
        if package not in found and all(registered.get(op.name, 0) >= op.version for op in ops):
            found[package] = RuntimeVersion(package, version)
    return tuple(found.values())


def _is_builtin(name: str) -> bool:
    return any(name in registered for registered in _registered().values())


@cache
def _registered() -> dict[str, dict[str, int]]:
    """The latest version of each op, by runtime, oldest first."""
    table: dict[str, dict[str, int]] = json.loads(Path(__file__).with_name("registered_ops.json").read_text())
    return table
