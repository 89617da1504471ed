"""Delegates on the command line: one of the known names, or a library; and the delegate's own options."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from edgetf.device.runner.delegates import DELEGATES, find_delegate
from edgetf.errors import nearest


class _Delegate(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A known delegate, or a library: a path on the device, or a name `*.so`."""

    name = "delegate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return find_delegate(value).name
        except KeyError:
            self.fail(f"{value!r} is unknown: {nearest(value, DELEGATES)}; or the path of a library", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        known = [CompletionItem(name) for name in DELEGATES if name.startswith(incomplete)]
        return known or [CompletionItem(incomplete, type="file")]


class _Option(click.ParamType):  # type: ignore[type-arg]
    """A pair of texts from "KEY=VALUE"."""

    name = "option"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not KEY=VALUE, such as device=usb", param, ctx)
        return key, text


def refuse_twice(ctx: click.Context, param: click.Parameter, given: tuple[tuple[str, str], ...]) -> Any:
    """A callback: options of which none is given twice."""
    keys = [key for key, _ in given]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise click.BadParameter(f"{twice!r} is given twice", ctx, param)
    return given


DELEGATE, OPTION = _Delegate(), _Option()
