from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgetf.errors import EdgetfError
from edgetf.plans.fleet.security import CA, CA_KEY, NODE, NODE_KEY, address_of, make_certificates, security_for


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("tls://lab:8786", "tls://lab:8786"),
        ("lab", "tls://lab:8786"),
        ("tls://[::1]:1", "tls://[::1]:1"),
        ("tcp://127.0.0.1:9", "tcp://127.0.0.1:9"),
        ("tcp://localhost", "tcp://localhost:8786"),
    ],
)
def test_an_address_is_encrypted_or_of_this_machine(given: str, expected: str) -> None:
    assert address_of(given) == expected


@pytest.mark.parametrize("given", ["tcp://lab:8786", "tcp://0.0.0.0:1", "tcp://192.168.1.2", "tcp://[::]:1"])
def test_plain_tcp_is_refused_off_the_loopback(given: str) -> None:
    with pytest.raises(EdgetfError, match="is not encrypted") as caught:
        address_of(given)
    assert "edgetf certificates" in caught.value.hint


@pytest.mark.parametrize("given", ["http://lab", "tls://", "tls://lab:x", "tls://lab:99999", "tls://lab/x", ""])
def test_what_is_not_an_address_is_refused(given: str) -> None:
    with pytest.raises(EdgetfError, match="is not the address of a scheduler"):
        address_of(given)


def test_keys_are_readable_by_their_owner_alone_and_not_replaced(tmp_path: Path) -> None:
    make_certificates(tmp_path / "set", force=False)
    for name in (CA_KEY, NODE_KEY):
        assert stat.S_IMODE((tmp_path / "set" / name).stat().st_mode) == 0o600
    before = (tmp_path / "set" / NODE).read_bytes()
    with pytest.raises(EdgetfError, match="exists"):
        make_certificates(tmp_path / "set", force=False)
    assert (tmp_path / "set" / NODE).read_bytes() == before
    make_certificates(tmp_path / "set", force=True)
    assert (tmp_path / "set" / NODE).read_bytes() != before


def test_a_set_that_is_not_whole_is_named(tmp_path: Path) -> None:
    make_certificates(tmp_path, force=False)
    assert security_for("tls://lab:8786", tmp_path).require_encryption
    assert security_for("tcp://127.0.0.1:8786", tmp_path / "none") is None
    (tmp_path / CA).unlink()
    with pytest.raises(EdgetfError, match=f"there is no {CA} in"):
        security_for("tls://lab:8786", tmp_path)
