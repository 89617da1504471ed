"""README.md and the pages of docs/: their order, and the content of their blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# README first, then the pages as mkdocs.yml lists them
PAGES = [
    "README.md",
    *(f"docs/{name}" for name in re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)),
]
TEXTS = {page: (ROOT / page).read_text() for page in PAGES}


@dataclass(frozen=True)
class Block:
    """A fenced block: `sh` is run, `console` is not; one with a title is a file."""

    page: str
    language: str
    title: str
    body: str


def blocks() -> list[Block]:
    found = []
    for page, text in TEXTS.items():
        for language, title, body in re.findall(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```', text, re.M | re.DOTALL):
            found.append(Block(page, language, title, body))
    return found


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and mkdocs make it."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower()))
