"""Why a scheduler cannot be reached, or cannot listen: each reason has its own message."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edgetf.errors import EdgetfError
from edgetf.plans.fleet.reach import refuse_taken, why_unreachable
from edgetf.plans.fleet.security import CA, NODE, NODE_KEY, make_certificates, security_for
from tests.plans.fleet.lab import free_port


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for name in ("own", "foreign"):
        make_certificates(folder / name, force=False)
    return folder


@contextmanager
def _server(context: ssl.SSLContext | None) -> Iterator[int]:
    """The port of a server that answers one client, with TLS if there is a `context`, and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                one, _ = listening.accept()
                with one if context is None else context.wrap_socket(one, server_side=True) as answered:
                    answered.sendall(b"no TLS at all")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join(10)


def _context(node: Path, trusted: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(node / NODE, node / NODE_KEY)
    context.load_verify_locations(trusted / CA)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize(
    ("node", "trusted", "reason"),
    [
        ("foreign", "foreign", "its certificate is not of the same set"),
        ("own", "foreign", "it refuses this certificate"),
        ("own", "own", "does not answer as a scheduler"),
        (None, None, "does not use TLS"),
    ],
)
def test_certificates_that_are_refused_are_named_and_by_whom(
    node: str | None, trusted: str | None, reason: str, sets: Path
) -> None:
    context = _context(sets / node, sets / trusted) if node and trusted else None
    security = security_for("tls://127.0.0.1:1", sets / "own")
    with _server(context) as port:
        assert reason in why_unreachable(f"tls://127.0.0.1:{port}", security)[0]


def test_a_port_where_nobody_listens_is_not_an_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_unreachable(f"tcp://127.0.0.1:{free_port()}", None)[0] == "nothing listens there"

    def unknown(*given: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    assert why_unreachable("tls://no-such-host:8786", None)[0] == "there is no host no-such-host"


def test_a_port_in_use_is_named_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EdgetfError, match=f"port {port} is in use"):
            refuse_taken(f"tcp://127.0.0.1:{port}")
    refuse_taken(f"tcp://127.0.0.1:{port}")
