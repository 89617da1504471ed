"""Operations that an equalized file has changed together, so that a mixture cannot take them apart.

In: the files of one conversion. Out: groups of operations, and why a mixture cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgetf.conversion.skeleton import BASE, File
from edgetf.flatbuffer import listed, tensor_name

Group = frozenset[int]


def groups_of(file: File) -> tuple[Group, ...]:
    """The operations that make a tensor with factors, and those that read it, with all that these are connected to."""
    found: list[Group] = []
    for k in range(file.count if file.factors else 0):
        for made in file.reads(k):
            if made in file.factors:
                touched = [group for group in found if group & {k, made}]
                found = [group for group in found if group not in touched]
                found.append(frozenset({k, made}).union(*touched))
    return tuple(sorted(found, key=min))


def why_split(files: Mapping[str, File], choice: Sequence[str], rounded: Mapping[int, str]) -> str:
    """Why operations from these files cannot be joined; empty if they can. Those in `rounded` round as in that file."""
    if not any(file.factors for file in files.values()):
        return ""
    base, factors = files[BASE], [files[name].factors for name in choice]
    for k, name in enumerate(choice):
        like = files[rounded.get(k, name)].factors
        for made in (k, *base.reads(k)):
            if not factors[made].get(made) == factors[k].get(made) == like.get(made):
                return f"{_name(base, made)} and what reads it are equalized together"
    outputs = [k for k in base.outputs() if k in factors[k]]
    return f"{_name(base, outputs[0])} is an output of the model, and cannot have factors" if outputs else ""


def factors_by_tensor(content: bytes, graph: int) -> dict[str, tuple[int, ...]]:
    """The exponents of the channels of a file's tensors, by name: those that are not float32's; `graph` is a number."""
    file = File(content)
    made = {
        part.first + k: tensor_name(part.tensors[int(op.outputs[0])])
        for part in file.parts
        if part.index == graph
        for k, op in enumerate(part.ops)
        if len(listed(op.outputs))
    }
    return {made[k]: exponents for k, exponents in file.factors.items() if k in made}


def _name(file: File, operation: int) -> str:
    part, k = file.locate(operation)
    return part.name_of(k)
