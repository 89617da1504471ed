"""Why a scheduler cannot be reached, or cannot listen. In: an address. Out: a reason and a hint.

Dask reports all of it as one timeout, or as "failed to start"; what to do next differs.
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

from edgetf.errors import EdgetfError
from edgetf.reading import reason_of

_ANSWER_S = 5.0  # in which a host that is there answers
_SAME_SET = "give both the certificates of one set: --certificates FOLDER"


def why_unreachable(address: str, security: Any) -> tuple[str, str]:
    """The reason, and what to do, for the scheduler at a full address; `security` is Dask's, None without TLS."""
    parts = urlsplit(address)
    try:
        opened = socket.create_connection((parts.hostname or "", parts.port or 0), _ANSWER_S)
    except socket.gaierror:
        return f"there is no host {parts.hostname}", "correct the address"
    except ConnectionRefusedError:
        return "nothing listens there", "start it: edgetf scheduler; or correct the address"
    except TimeoutError:
        hint = f"see that it is on, and that no firewall keeps port {parts.port} closed"
        return f"{parts.hostname} does not answer", hint
    except OSError as error:
        return reason_of(error), "correct the address"
    with opened:
        found = None if security is None else _refusal(opened, security.get_connection_args("client")["ssl_context"])
    return found or ("what listens there does not answer as a scheduler", "see its output; is it tls://, or tcp://?")


def _refusal(opened: socket.socket, context: ssl.SSLContext) -> tuple[str, str] | None:
    """Which side refuses the other's certificate; None if neither does."""
    try:
        with context.wrap_socket(opened) as secured:
            secured.recv(1)  # a server of TLS 1.3 refuses a certificate after the handshake
    except ssl.SSLCertVerificationError:
        return "its certificate is not of the same set, or has ended", _SAME_SET
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or "") or "CERTIFICATE" in (error.reason or ""):
            return "it refuses this certificate, which is not of its set, or has ended", _SAME_SET
        return "what listens there does not use TLS", "start it with the address tls://..., or correct this one"
    except OSError:  # it is silent, or has closed the connection
        return None
    return None


def refuse_taken(address: str) -> None:
    """Raise EdgetfError if nobody can listen at a full address: its port is in use, or it is not of this machine."""
    parts = urlsplit(address)
    try:
        [(family, *_, place), *_] = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
        socket.create_server(place[:2], family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            hint = f"is a scheduler running already? See: edgetf status {address}; or give another port"
            raise EdgetfError(f"cannot listen at {address}: port {parts.port} is in use", hint) from error
        hint = "give an address of this machine, such as tls://0.0.0.0:8786"
        raise EdgetfError(f"cannot listen at {address}: {reason_of(error)}", hint) from error
