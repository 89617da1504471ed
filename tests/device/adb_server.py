"""An adb daemon on the loopback for tests: enough that the real `adb` connects, runs shells and moves files.

Its shell and files are those of this machine. It can cut connections, refuse authorization, and answer like a phone.
The protocol is that of packages/modules/adb in Android (protocol.txt, SYNC.TXT, shell_protocol.h).
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

_CNXN, _OPEN, _OKAY, _WRTE, _CLSE, _AUTH = (
    int.from_bytes(word, "little") for word in (b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE", b"AUTH")
)
_VERSION, _LARGEST = 0x01000001, 256 * 1024  # from this version on, checksums are ignored
_BANNER = b"device::ro.product.name=emulated;ro.product.model=Emulated;features=shell_v2,cmd,stat_v2"
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)


class AdbServer:
    """A phone at `serial`. `path` is put before PATH in its shells.

    `authorized` False means that it has not accepted this computer.
    """

    def __init__(self, path: Path | None = None, authorized: bool = True) -> None:
        self.path, self.authorized = path, authorized
        self.received = 0  # bytes
        self.on_bytes: Callable[[int], None] = lambda received: None
        self.on_pull: Callable[[], object] = lambda: None
        self.full = False  # whether its disk is
        self.loses: Callable[[str], bool] = lambda what: False  # whether the answer to a command or file is lost
        self._connections: list[_Connection] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections; new ones are taken."""
        for connection in self._connections:
            connection.close()

    def close(self) -> None:
        self._socket.close()
        self.cut()

    def count(self, size: int) -> None:
        self.received += size
        self.on_bytes(self.received)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._socket.accept()
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.append(_Connection(self, peer))


class _Connection:
    def __init__(self, server: AdbServer, peer: socket.socket) -> None:
        self.server, self._peer = server, peer
        self._lock, self._streams = threading.Lock(), dict[int, _Stream]()
        self.largest = 4096
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = struct.pack("<6I", command, first, second, len(data), 0, command ^ 0xFFFFFFFF)
        with self._lock:
            self._peer.sendall(head + data)

    def _run(self) -> None:
        try:
            while True:
                command, first, second, size, _, _ = struct.unpack("<6I", self._receive(24))
                self._handle(command, first, second, self._receive(size))
        except (EOFError, OSError):
            pass
        for stream in list(self._streams.values()):
            stream.hang_up()
        self._peer.close()

    def _receive(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            block = self._peer.recv(size - len(found))
            if not block:
                raise EOFError
            self.server.count(len(block))
            found += block
        return bytes(found)

    def _handle(self, command: int, first: int, second: int, data: bytes) -> None:
        if command in (_CNXN, _AUTH) and not self.server.authorized:
            if first != 3:  # a public key, which the screen asks to accept; nobody does
                self.send(_AUTH, 1, 0, bytes(20))  # a token to sign; no signature will do
        elif command == _CNXN:
            self.largest = min(second, _LARGEST)
            self.send(_CNXN, _VERSION, _LARGEST, _BANNER)
        elif command == _OPEN:
            stream = _Stream(self, len(self._streams) + 1, first)
            self._streams[stream.local] = stream
            service = data.rstrip(b"\0").decode()
            threading.Thread(target=self._serve, args=(stream, service), daemon=True).start()
        elif second in self._streams:
            self._streams[second].take(command, data)
        elif command == _WRTE:
            self.send(_CLSE, 0, first)

    def _serve(self, stream: _Stream, service: str) -> None:
        name, _, argument = service.partition(":")
        known = name.split(",")[0]
        with contextlib.suppress(EOFError, OSError):
            if known in ("shell", "sync"):
                self.send(_OKAY, stream.local, stream.remote)
                if known == "sync":
                    _sync(stream, self.server)
                else:
                    _shell(stream, argument, self.server)
            self.send(_CLSE, stream.local, stream.remote)


class _Stream:
    """One service that was opened: a pipe in either direction, whose writes wait to be acknowledged."""

    def __init__(self, connection: _Connection, local: int, remote: int) -> None:
        self.local, self.remote, self.closed = local, remote, False
        self._connection = connection
        self._inbox: queue.Queue[bytes | None] = queue.Queue()
        self._acknowledged: queue.Queue[bool] = queue.Queue()
        self._buffer = b""

    def take(self, command: int, data: bytes) -> None:
        if command == _WRTE:
            self._inbox.put(data)
        elif command == _OKAY:
            self._acknowledged.put(True)
        elif command == _CLSE:
            self.hang_up()

    def hang_up(self) -> None:
        self.closed = True
        self._inbox.put(None)
        self._acknowledged.put(False)

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self._inbox.get()
            if data is None:
                self._inbox.put(None)
                raise EOFError
            self._connection.send(_OKAY, self.local, self.remote)  # only now may the next one be sent
            self._buffer += data
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def write(self, data: bytes) -> None:
        largest = self._connection.largest
        for begin in range(0, len(data), largest):
            self._connection.send(_WRTE, self.local, self.remote, data[begin : begin + largest])
            if not self._acknowledged.get():
                raise EOFError


def _shell(stream: _Stream, command: str, server: AdbServer) -> None:
    """The shell protocol, version 2: packets of standard streams, and the exit code at the end."""
    path, lost = server.path, server.loses(command)
    env = {**os.environ, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}"} if path else None
    child = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=env,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    writing = threading.Lock()

    def pump(pipe: IO[bytes], kind: int) -> None:
        with contextlib.suppress(EOFError, OSError):
            while data := os.read(pipe.fileno(), 1 << 16):
                if lost:
                    continue
                with writing:
                    stream.write(struct.pack("<BI", kind, len(data)) + data)

    threads = [
        threading.Thread(target=pump, args=(child.stdout, _STDOUT), daemon=True),
        threading.Thread(target=pump, args=(child.stderr, _STDERR), daemon=True),
    ]
    threading.Thread(target=_feed, args=(stream, child, child.stdin), daemon=True).start()
    for thread in threads:
        thread.start()
    code = child.wait()
    for thread in threads:
        thread.join()
    if lost:
        server.cut()
    stream.write(struct.pack("<BIB", _EXIT, 1, code if code >= 0 else 128 - code))


def _feed(stream: _Stream, child: subprocess.Popen[bytes], pipe: IO[bytes]) -> None:
    try:
        while True:
            kind, size = struct.unpack("<BI", stream.read(5))
            data = stream.read(size)
            if kind == _STDIN:
                pipe.write(data)
                pipe.flush()
            elif kind == _CLOSE_STDIN:
                pipe.close()
    except (EOFError, OSError, ValueError):
        if stream.closed and child.poll() is None:  # the host hung up: the command ends with it
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGHUP)


def _sync(stream: _Stream, server: AdbServer) -> None:
    """The file service: stat, send, receive, list."""
    while True:
        request, size = struct.unpack("<4sI", stream.read(8))
        if request == b"QUIT":
            return
        place = stream.read(size).decode()
        if request == b"RECV":
            server.on_pull()
        if request == b"SEND" and server.full:
            place = "/dev/full,0"
        lost = request in (b"SEND", b"RECV") and server.loses(f"{request.decode()} {place}")
        try:
            _SYNC[request](_Deaf(stream, server) if lost else stream, request, place)  # type: ignore[arg-type]
        except (OSError, KeyError) as error:
            message = str(getattr(error, "strerror", None) or f"unknown request {error}").encode()
            stream.write(b"FAIL" + struct.pack("<I", len(message)) + message)


class _Deaf:
    """A stream that takes everything and answers by hanging up."""

    def __init__(self, stream: _Stream, server: AdbServer) -> None:
        self.read, self._cut = stream.read, server.cut

    def write(self, data: bytes) -> None:
        self._cut()
        raise EOFError


def _stat_1(stream: _Stream, request: bytes, place: str) -> None:
    try:
        found = Path(place).lstat()
        reported = (found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))
    except OSError:
        reported = (0, 0, 0)
    stream.write(request + struct.pack("<3I", *reported))


def _stat_2(stream: _Stream, request: bytes, place: str) -> None:
    form = "<IQQIIIIQqqq"
    try:
        s = Path(place).stat() if request == b"STA2" else Path(place).lstat()
        ids, times = (
            (s.st_dev, s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size),
            (s.st_atime, s.st_mtime),
        )
        stream.write(request + struct.pack(form, 0, *ids, *(int(t) for t in times), int(s.st_ctime)))
    except OSError as error:
        stream.write(request + struct.pack(form, error.errno or 1, *[0] * 10))


def _list(stream: _Stream, request: bytes, place: str) -> None:
    for path in sorted(Path(place).iterdir()):
        found, name = path.lstat(), path.name.encode()
        reported = (found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime), len(name))
        stream.write(b"DENT" + struct.pack("<4I", *reported) + name)
    stream.write(b"DONE" + bytes(16))


def _take_file(stream: _Stream, request: bytes, spec: str) -> None:
    place, _, mode = spec.rpartition(",")
    problem, file = None, None
    try:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        file = Path(place).open("wb")  # noqa: SIM115  # closed below, after all that comes was read
    except OSError as error:
        problem = error  # the data is sent nevertheless
    while True:
        kind, size = struct.unpack("<4sI", stream.read(8))
        if kind == b"DONE":
            changed = size  # when it was, in seconds
            break
        data = stream.read(size)
        if file is not None and problem is None:
            try:
                file.write(data)
                file.flush()
            except OSError as error:
                problem = error
    if file is not None:
        with contextlib.suppress(OSError):
            file.close()
    if problem is not None:
        raise problem
    Path(place).chmod(int(mode) & 0o777)
    os.utime(place, (changed, changed))
    stream.write(b"OKAY" + bytes(4))


def _give_file(stream: _Stream, request: bytes, place: str) -> None:
    with Path(place).open("rb") as file:
        while data := file.read(1 << 16):
            stream.write(b"DATA" + struct.pack("<I", len(data)) + data)
    stream.write(b"DONE" + bytes(4))


_SYNC: dict[bytes, Callable[[_Stream, bytes, str], None]] = {
    b"STAT": _stat_1,
    b"LST2": _stat_2,
    b"STA2": _stat_2,
    b"LIST": _list,
    b"SEND": _take_file,
    b"RECV": _give_file,
}
