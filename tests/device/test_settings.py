from __future__ import annotations

from pathlib import Path

import pytest

from edgetf.device.devices_toml import load_settings
from edgetf.device.runner.delegates import DELEGATES
from edgetf.device.settings import DeviceSettings, Kind
from edgetf.errors import EdgetfError

PI = '[pi]\nkind = "ssh"\nhost = "pi.local"\n'


def _load(tmp_path: Path, text: str) -> dict[str, DeviceSettings]:
    (tmp_path / "d.toml").write_text(text)
    return load_settings(tmp_path / "d.toml")


def test_a_device_is_read_with_its_defaults(tmp_path: Path) -> None:
    found = _load(tmp_path, PI + 'port = 2222\nenv = { A = "b" }\n')
    assert found["pi"] == DeviceSettings(Kind.SSH, "pi.local", port=2222, env={"A": "b"})
    assert found["local"].kind is Kind.LOCAL


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", "/home/me")
    found = _load(tmp_path, PI + 'key = "keys/pi"\nknown_hosts = "~/hosts"\npython = "venv/bin/python"\n')["pi"]
    assert (found.key, found.known_hosts) == (str(tmp_path / "keys/pi"), "/home/me/hosts")
    assert found.python == "venv/bin/python"  # on the device
    here = _load(tmp_path, '[a]\nkind = "local"\npython = "venv/bin/python"\n[b]\nkind = "local"\npython = "python3"\n')
    assert (here["a"].python, here["b"].python) == (str(tmp_path / "venv/bin/python"), "python3")
    phone = _load(tmp_path, '[p]\nkind = "adb"\nbenchmark_model = "bm"\nadb = "tools/adb"\n')["p"]
    assert (phone.benchmark_model, phone.adb) == (str(tmp_path / "bm"), str(tmp_path / "tools/adb"))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (PI + 'usr = "pi"\n', "unknown key 'usr'", "did you mean 'user'"),
        ('[pi]\nkind = "sssh"\n', "kind is 'sssh'", "ssh"),
        ('[pi]\nkind = "ssh"\n', "it has no host", "host ="),
        (PI + 'port = "22"\n', "port = '22' is not a whole number", ""),
        (PI + "threads = true\n", "threads = True is not a whole number", ""),
        (PI + "emulated = 1\n", "emulated = 1 is not true or false", ""),
        (PI + 'env = "A=b"\n', "env = 'A=b' is not a table of texts", ""),
        (PI + "user = 1\n", "user = 1 is not a text", ""),
        (PI + "port = 65536\n", "port = 65536 is out of bounds", "give 1 to 65535"),
        (PI + "threads = 0\n", "threads = 0 is out of bounds", "give 1 to 1024"),
        (PI + 'delegate = "magic"\n', "delegate is 'magic'", f"known: {', '.join(DELEGATES)}"),
        (PI + 'serial = "1"\n', "serial means nothing for kind = 'ssh'", "remove it"),
        ('kind = "ssh"\n', "stands outside of a device", "[name-of-a-device]"),
        ("[pi\n", "cannot read", ""),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(EdgetfError) as caught:
        _load(tmp_path, text)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_file_of_the_project_has_priority_over_that_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert list(load_settings(None)) == ["local", "micro"]
    (tmp_path / "config" / "edgetf").mkdir(parents=True)
    (tmp_path / "config" / "edgetf" / "devices.toml").write_text(PI.replace("[pi]", "[users]"))
    assert "users" in load_settings(None)
    (tmp_path / "devices.toml").write_text(PI)
    assert list(load_settings(None)) == ["local", "micro", "pi"]
