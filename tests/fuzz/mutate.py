"""Damage, by format. In: the bytes of a sound file and a source of chance. Out: the bytes of a damaged one.

Chance is a `random.Random`, which hypothesis can replace: it then finds the smallest damage that still does harm.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

Mutate = Callable[[Random, bytes], bytes]

# values that broke readers: ends of integer types, non-numbers, deep nesting, control characters, other types
_NUMBERS: list[Any] = [
    *(0, -1, 1, 2, 127, 128, 255, 256, -(2**31), 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30),
    *(10**400, 0.0, -0.0, 0.5, -0.5, 1e-320, 1e300, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
]
_TEXTS = [
    *("", " ", "\n", "a\nb", "\0", "\x1b[2J", "\x9b31m", "\u2028", "\u202e", "\ud800", "\udcff", "é", "\U0001f600"),
    *("../../x", "/etc/passwd", "~nobody-of-that-name/x", "a/b", ".", "..", "x" * 300, "x" * 5000, "/" * 5000, "[b]"),
    *("<script>", "%s", "{0}", "nan", "0x", "-", "float32", "labels", "labels_", "[/]", "\\", "$x_{", "&", "'\""),
]
_OTHERS: list[Any] = [None, True, False, [], {}, [[]], [None], {"": None}, [[[[[[[[0]]]]]]]]]


def mutate_bytes(chance: Random, content: bytes) -> bytes:
    """Flipped bits, other bytes, cut off, doubled, moved, or a run of one byte; up to four times."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        size = len(data)
        at = chance.randrange(size + 1) if size else 0
        length = chance.choice([1, 2, 4, 8, 64, 1000])
        kind = chance.randrange(9)
        if kind == 0 and size:
            data[at % size] ^= 1 << chance.randrange(8)
        elif kind == 1 and size:
            data[at % size] = chance.randrange(256)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length]
        elif kind == 5:
            data[at : at + length] = bytes([chance.choice([0, 255, 127, 128, 10, 34])]) * length
        elif kind == 6:
            number = chance.choice([0, 1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
            width = chance.choice("BHIQ")
            packed = struct.pack(f"<{width}", number & (256 ** struct.calcsize(width) - 1))
            data[at : at + len(packed)] = packed
        elif kind == 7 and size:
            other = chance.randrange(size)
            data[at : at + length] = data[other : other + length]
        else:
            data[at:at] = bytes(chance.randrange(256) for _ in range(min(length, 16)))
    return bytes(data)


def mutate_text(chance: Random, content: bytes) -> bytes:
    """Lost, doubled or exchanged lines and words, and changed numbers; otherwise as bytes."""
    if chance.random() < 0.3:
        return mutate_bytes(chance, content)
    lines = content.decode(errors="replace").split("\n")
    for _ in range(chance.choice([1, 1, 2, 4])):
        k = chance.randrange(len(lines))
        kind = chance.randrange(6)
        words = lines[k].split(" ")
        word = chance.randrange(len(words))
        if kind == 0 and len(lines) > 1:
            del lines[k]
        elif kind == 1:
            lines.insert(k, lines[chance.randrange(len(lines))])
        elif kind == 2:
            words[word] = str(chance.choice([*_NUMBERS, *_TEXTS]))
            lines[k] = " ".join(words)
        elif kind == 3:
            begin, equals, _ = lines[k].partition(chance.choice(["=", ":"]))
            lines[k] = f"{begin}{equals}{chance.choice([*_NUMBERS, *_TEXTS])}"
        elif kind == 4:
            digits = [at for at, one in enumerate(lines[k]) if one.isdigit()]
            if digits:
                at = chance.choice(digits)
                lines[k] = lines[k][:at] + str(chance.choice([*_NUMBERS, *_TEXTS])) + lines[k][at + 1 :]
        else:
            del words[word]
            lines[k] = " ".join(words)
    return "\n".join(lines).encode(errors="surrogatepass")


def mutate_json(chance: Random, content: bytes) -> bytes:
    """Changed, lost, doubled or exchanged values, keys and branches; sometimes the bytes themselves."""
    if chance.random() < 0.15:
        return mutate_bytes(chance, content)
    document = json.loads(content)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        places = list(_places(document))
        if not places:
            break
        mutate_place(chance, *chance.choice(places))
    text = json.dumps(document)
    if chance.random() < 0.02:
        text = text.replace("0", chance.choice(["[" * 100000, "1e999", "9" * 5000, "0" * 50]), 1)
    return text.encode()


def _places(value: Any) -> Any:
    """Every container in a document with every key or index of it."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield value, key
            yield from _places(one)
    elif isinstance(value, list):
        for k, one in enumerate(value):
            yield value, k
            yield from _places(one)


def mutate_place(chance: Random, holder: Any, key: Any) -> None:
    """One value of a document becomes another."""
    value, kind = holder[key], chance.randrange(10)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[chance.choice(_TEXTS)] = holder.pop(key)
    elif kind == 1:
        holder.insert(key, json.loads(json.dumps(value)))
    elif kind == 2:
        holder[key] = json.loads(json.dumps(chance.choice(_OTHERS)))
    elif kind == 3:
        other = chance.choice(list(_places(holder)))
        holder[key] = json.loads(json.dumps(other[0][other[1]]))
    elif isinstance(value, bool) or value is None:
        holder[key] = chance.choice([None, True, False, 1, "x", *_NUMBERS])
    elif isinstance(value, (int, float)):
        near = [value + 1, value - 1, -value, value * 1e9, value / 1e9] if abs(value) < 1e200 else [0]
        holder[key] = chance.choice([*_NUMBERS, *near, *near])
    elif isinstance(value, str):
        changed = [value + one for one in _TEXTS[:13]]
        holder[key] = chance.choice([*_TEXTS, *changed, value.upper(), value[:1], value * 3])
    elif isinstance(value, list) and value:
        holder[key] = chance.choice([value[:1], value + value, value[::-1], value[:-1]])
    else:
        holder[key] = chance.choice(_OTHERS[:2])


def mutate_zip(inner: dict[str, Mutate]) -> Mutate:
    """Damage for a zip file: in a member, by the `inner` damage for the end of its name, or in the zip itself."""

    def mutate(chance: Random, content: bytes) -> bytes:
        if chance.random() < 0.35:
            return mutate_bytes(chance, content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(one.filename, one.compress_type, archive.read(one)) for one in archive.infolist()]
            comment = archive.comment
        buffer = io.BytesIO()
        victim = chance.randrange(len(members))
        with zipfile.ZipFile(buffer, "w") as archive:
            for k, (name, kind, data) in enumerate(members):
                if k == victim and chance.random() < 0.1:
                    continue
                if k == victim:
                    damage = next((one for end, one in inner.items() if name.endswith(end)), mutate_bytes)
                    data = damage(chance, data)
                    name = chance.choice([name] * 20 + ["x", "x.npy", "../x.npy", "a\nb.npy", "\x1b[2J.npy"])
                    kind = chance.choice([kind, kind, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
                archive.writestr(zipfile.ZipInfo(name), data, kind)
            archive.comment = comment
        return buffer.getvalue()

    return mutate


def mutate_npy(chance: Random, content: bytes) -> bytes:
    """Another header in front of the values of an array; else as bytes."""
    if chance.random() < 0.4 or content[:6] != b"\x93NUMPY":
        return mutate_bytes(chance, content)
    size = int.from_bytes(content[8:10], "little")
    values = content[10 + size :]
    types = [
        "<f4",
        ">f4",
        "<f8",
        "|u1",
        "<M8[s]",
        "<m8[ns]",
        "|O",
        "|V4",
        "<U3",
        "|S5",
        "<c8",
        "|b1",
        "<f2",
        "<U0",
        "|V0",
    ]
    types += ["[('a', '<f4'), ('b', '<i4')]", "('<f4', (2, 2))", "f4,f4", "<f3", "", "x" * 3000, "<i8", "|i1"]
    shapes = ["()", "(0,)", "(1,)", "(2**62,)", "(-1,)", "(True,)", "(1.5,)", "(1,) * 40", "(4294967296, 4294967296)"]
    shapes += ["(9223372036854775807, 2)", "(18446744073709551616,)", "(" * 200, "(3, 0, 99999999999999999999)", "None"]
    shapes += [f"({len(values) // 4},)", f"({len(values)},)", f"({len(values) // 8},)"]
    dtype = chance.choice(types)
    quoted = dtype if dtype[:1] in "[(" and dtype else repr(dtype)
    known = content[10 : 10 + size].decode("latin1")
    header = chance.choice([known, f"{{'descr': {quoted}, 'fortran_order': {chance.choice(['False', 'True', '1'])}, "])
    if not header.endswith("}\n") and "shape" not in header:
        header += f"'shape': {chance.choice(shapes)}, }}"
    header = header.strip().ljust(chance.choice([117, 53, 0])) + "\n"
    version = chance.choice([b"\x01\x00"] * 5 + [b"\x02\x00", b"\x03\x00", b"\x09\x00"])
    width = 2 if version == b"\x01\x00" else 4
    encoded = header.encode("latin1")
    return b"\x93NUMPY" + version + len(encoded).to_bytes(width, "little") + encoded + values


def mutate_records(chance: Random, content: bytes) -> bytes:
    """Damage inside of a record of a TFRecord file whose checksums are right; sometimes to the file itself."""
    if chance.random() < 0.3:
        return mutate_bytes(chance, content)
    records, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 8], "little")
        records.append(content[at + 12 : at + 12 + size])
        at += 16 + size
    k = chance.randrange(len(records))
    records[k] = mutate_bytes(chance, records[k])
    return b"".join(map(_framed, records))


def _framed(record: bytes) -> bytes:
    """A record with its length and both masked checksums (tensorflow/core/lib/io/record_writer.h)."""
    length = struct.pack("<Q", len(record))
    return length + _masked_crc(length) + record + _masked_crc(record)


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc32c_table() -> list[int]:
    """Of the Castagnoli polynomial, bit-reversed."""
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC32C = _crc32c_table()
