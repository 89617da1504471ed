"""Who may connect to whom: mutual TLS with certificates of one's own. In: a folder. Out: a set of files, or their use.

Whoever has node-key.pem can run code on every worker, on the scheduler, and on every machine that runs a plan or
`edgetf status` with that set, as the user that runs it: Dask passes functions on, and reads answers as pickles.
Therefore plain TCP is refused but on the loopback, and the private keys are readable by their owner alone. Names are
not checked, so that certificates have none: every machine of the set is trusted. They end after 825 days.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgetf import files
from edgetf.errors import EdgetfError, MissingExtraError

PORT = 8786
CA, CA_KEY, NODE, NODE_KEY = "ca.pem", "ca-key.pem", "node.pem", "node-key.pem"
_DAYS = 825
_MAKE = "make a set: edgetf certificates"


def default_folder() -> Path:
    """Where certificates are looked for."""
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return configuration / "edgetf" / "certificates"


def make_certificates(folder: Path, force: bool) -> None:
    """Write a certificate authority and one certificate, with their private keys, for all machines of a lab.

    The authority's own key stays with you: it is only needed for more certificates. Raises EdgetfError if there is a
    set already.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ModuleNotFoundError as error:
        raise MissingExtraError("cryptography", "fleet") from error
    for name in (CA, CA_KEY, NODE, NODE_KEY):
        files.refuse_existing(folder / name, force)
    begin = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=5)
    end = begin + datetime.timedelta(days=_DAYS)

    def certify(name: str, key: Any, issuer: tuple[Any, Any] | None, extensions: Sequence[tuple[Any, bool]]) -> Any:
        own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(own).issuer_name(issuer[0] if issuer else own)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(begin).not_valid_after(end)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(issuer[1] if issuer else key, hashes.SHA256())

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = certify("edgetf lab", ca_key, None, [(x509.BasicConstraints(ca=True, path_length=0), True)])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    node = certify("edgetf node", key, (authority.subject, ca_key), [(usage, False)])
    folder.mkdir(parents=True, exist_ok=True)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    for name, one in ((CA_KEY, ca_key), (NODE_KEY, key)):
        content = one.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        _write_secret(folder / name, content)
    files.write_whole(folder / CA, authority.public_bytes(pem))
    files.write_whole(folder / NODE, node.public_bytes(pem))


def _write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, at every moment."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    beside.replace(path)


def address_of(text: str) -> str:
    """The full address of a scheduler, such as "tls://lab:8786". Raises EdgetfError for one that is not safe."""
    found = urlsplit(text if "://" in text else f"tls://{text}")
    try:
        host, port = found.hostname, found.port or PORT
    except ValueError as error:
        raise EdgetfError(f"{text!r} is not the address of a scheduler", "such as tls://lab:8786") from error
    if found.scheme not in ("tls", "tcp") or not host or found.path:
        raise EdgetfError(f"{text!r} is not the address of a scheduler", "such as tls://lab:8786")
    if found.scheme == "tcp" and not _is_loopback(host):
        message = f"{text} is not encrypted, and whoever reaches it can run code on every worker"
        raise EdgetfError(message, f"use tls://{host}:{port}; {_MAKE}")
    return f"{found.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def security_for(address: str, folder: Path | None) -> Any:
    """Dask's `Security` for an address: None for the loopback. Raises EdgetfError if certificates are missing."""
    if address.startswith("tcp://"):
        return None
    from distributed import Security

    folder = default_folder() if folder is None else folder
    for name in (CA, NODE, NODE_KEY):
        if not (folder / name).is_file():
            raise EdgetfError(
                f"there is no {name} in {folder}", f"{_MAKE}, and copy it to each machine, or name its folder"
            )
    node = {"cert": str(folder / NODE), "key": str(folder / NODE_KEY)}
    roles = {f"tls_{role}_{part}": path for role in ("client", "scheduler", "worker") for part, path in node.items()}
    return Security(tls_ca_file=str(folder / CA), require_encryption=True, **roles)
