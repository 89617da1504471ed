"""An SSH server on the loopback for tests: asyncssh's own, whose shell and files are those of this machine.

`Link` is a TCP proxy in front of it that counts bytes, adds delay, and can be cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncssh


class Server:
    """Accepts the key in `key`; commands run in `home`, whose `work` is the work_dir of devices.toml."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.key, self.known_hosts = folder / "id", folder / "known_hosts"
        self.loses: Callable[[str], bool] = lambda command: False  # whether the answer to a command is lost
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        client = asyncssh.generate_private_key("ssh-ed25519")
        client.write_private_key(self.key)
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        (folder / "authorized").write_bytes(client.export_public_key())
        self._authorized = str(folder / "authorized")
        self.do(self._start())
        self.link = Link(self.port)
        self.trust(self.host_key)

    def do(self, act: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(act, self._loop).result(30)

    def trust(self, key: Any) -> None:
        """Make `key` the key of the link in known_hosts."""
        public = key.export_public_key().decode().strip()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.link.port} {public}\n")

    def settings(self, python: str, **more: str) -> str:
        """A devices.toml with this server as `pi`."""
        lines = [
            "[pi]",
            'kind = "ssh"',
            'host = "127.0.0.1"',
            'user = "pi"',
            f"port = {self.link.port}",
            f'key = "{self.key}"',
            f'known_hosts = "{self.known_hosts}"',
            f'python = "{python}"',
            f'work_dir = "{self.home}/work"',
        ]
        return "\n".join([*lines, *(f"{name} = {value}" for name, value in more.items())]) + "\n"

    def close(self) -> None:
        self.link.close()
        self.do(_stop(self._server))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _start(self) -> None:
        self._server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[self.host_key],
            authorized_client_keys=self._authorized,
            process_factory=self._serve,
            sftp_factory=asyncssh.SFTPServer,
            encoding=None,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, process: Any) -> None:
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            process.command,
            cwd=self.home,
            env={**os.environ, "HOME": str(self.home)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
            code = await child.wait()
            await process.stdout.drain()
            if self.loses(process.command):
                self.link.cut()
            process.exit(code)
        except ConnectionError:
            pass
        finally:
            if child.returncode is None:
                child.kill()


class Link:
    """A TCP proxy to `port`: `sent` counts bytes towards it; `cut` ends all connections."""

    def __init__(self, port: int) -> None:
        self.sent, self.delay_s = 0, 0.0
        self.cut_at: int | None = None  # bytes sent
        self.refuse = False
        self._to, self._writers, self._clients = port, set[asyncio.StreamWriter](), set[asyncio.StreamWriter]()
        self._kept = set[asyncio.StreamWriter]()  # to the server, still open after the client has gone
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._start())

    def cut_when_sent(self, more: int) -> None:
        """Cut once, when `more` bytes have been sent from now on."""
        self.cut_at = self.sent + more

    def cut(self) -> None:
        self._do(self._cut(self._writers))

    def forget(self) -> None:
        """Cut all connections on the client's side only: the server keeps its ends open."""
        self._kept |= self._writers - self._clients
        self._do(self._cut(self._clients))

    def close(self) -> None:
        self._do(_stop(self._listening))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _do(self, act: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(act, self._loop).result(30)

    async def _start(self) -> None:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def _cut(self, writers: set[asyncio.StreamWriter]) -> None:
        for writer in writers:
            writer.transport.abort()
        writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, back}
        self._clients.add(writer)
        await asyncio.gather(self._pump(reader, back, up=True), self._pump(there, writer, up=False))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        """Forward data, each block `delay_s` late: a delay without a limit on data in transit."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        now = asyncio.get_running_loop().time

        async def deliver() -> None:
            while True:
                at, block = await late.get()
                await asyncio.sleep(max(0.0, at - now()))
                if not block:
                    if writer not in self._kept:
                        writer.close()
                    return
                writer.write(block)
                await writer.drain()

        delivering = asyncio.ensure_future(deliver())
        with contextlib.suppress(ConnectionError):
            while block := await reader.read(1 << 16):
                self.sent += up * len(block)
                if self.cut_at is not None and self.sent >= self.cut_at:
                    self.cut_at = None
                    await self._cut(self._writers)
                    break
                late.put_nowait((now() + self.delay_s, block))
        late.put_nowait((now() + self.delay_s, b""))
        await asyncio.gather(delivering, return_exceptions=True)


async def _stop(server: Any) -> None:
    """Close a server and end everything else in its loop."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
