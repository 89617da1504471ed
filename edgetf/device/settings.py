"""How a device is reached and what jobs use on it: one table of `devices.toml`, read by `devices_toml`.

The annotation of a field is the type of its key there; that of a whole number has its bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, NamedTuple

from edgetf.device.runner.delegates import AUTO, DEFAULT_DELEGATE


class Kind(str, Enum):
    LOCAL = "local"
    SSH = "ssh"
    ADB = "adb"
    MICRO = "micro"


class Bounds(NamedTuple):
    """The least and the largest value of a whole number."""

    least: int
    most: int


@dataclass(frozen=True)
class DeviceSettings:
    """One table of `devices.toml`.

    `python` runs the runner: it has numpy and one interpreter. `work_dir` is relative to the home folder there.
    `known_hosts` verifies the host key, `key` is a private key file; without it, the SSH agent and the usual files
    are tried. Paths on this machine are relative to the file that names them. `env` is for the runner. `runtime`,
    `delegate` (both of `runner.delegates`), `delegate_options` and `threads` are the defaults of jobs. `emulated` means
    that its times are not those of the hardware: they get no verdict. For a phone, `serial` identifies it, `adb` is the
    program, `benchmark_model` is TFLite's program for it, on this machine, and `work_dir` is by default
    /data/local/tmp/edgetf.
    """

    kind: Kind
    host: str | None = None
    user: str | None = None
    port: Annotated[int, Bounds(1, 65535)] = 22
    key: str | None = None
    known_hosts: str = "~/.ssh/known_hosts"
    python: str = "python3"
    work_dir: str = ".cache/edgetf"
    runtime: str = AUTO
    delegate: str = DEFAULT_DELEGATE
    delegate_options: dict[str, str] = field(default_factory=dict)
    threads: Annotated[int, Bounds(1, 1024)] = 1
    env: dict[str, str] = field(default_factory=dict)
    emulated: bool = False
    serial: str | None = None
    adb: str = "adb"
    benchmark_model: str | None = None

    def options_of(self, delegate: str, given: Mapping[str, str]) -> dict[str, str]:
        """The options of a delegate: the device's own, if the delegate is, and those that are given."""
        return {**(self.delegate_options if delegate == self.delegate else {}), **given}


def expand(path: str) -> Path:
    """The path with `~` as the home folder; unchanged if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
