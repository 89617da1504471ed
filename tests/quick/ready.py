"""A process that has imported TensorFlow: its copies run edgetf's modules without that delay. `ready.py SOCKET`.

A connection sends one line of JSON with its standard files: the module, its arguments, its folder and its environment.
It gets the exit code (negative: the signal). If it closes, the copy and its children are killed. Bytes that follow the
line are signals for the copy. The process ends when its standard input does. TensorFlow is imported and never used
here, so that it has no threads of its own when it is copied.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import select
import selectors
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

# edgetf starts a process for each of these, and each imports TensorFlow
MODULES = (
    "edgetf.api.child",
    "edgetf.conversion.keras_export",
    "edgetf.conversion.keras_outputs",
    "edgetf.conversion.source_child",
    "edgetf.conversion.worker",
    "edgetf.models.compression_worker",
    "edgetf.plans.fleet.range_child",
    "edgetf.plans.fleet.reference_child",
)
_NEUTRAL = {"KERAS_BACKEND": "tensorflow", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
_GENERATION = "TF_USE_LEGACY_KERAS"
_READ_AT_IMPORT = ("TF_", "KERAS", "CUDA", "OMP_", "OPENBLAS_", "XLA_", "PYTHONHASHSEED", "PYTHONOPTIMIZE", "LD_")


def settings(env: Mapping[str, str]) -> str:
    """All that importing TensorFlow reads from the environment, except Keras's generation."""
    read = {name: value for name, value in env.items() if name.startswith(_READ_AT_IMPORT) and name != _GENERATION}
    return json.dumps({**_NEUTRAL, **read}, sort_keys=True)


def socket_of(folder: str, env: Mapping[str, str]) -> str:
    """The socket in `folder` of the process that has imported TensorFlow with the Keras that `env` asks for."""
    return f"{folder}/keras{2 if env.get(_GENERATION) in ('1', 'true', 'True') else 3}"


def serve(path: str) -> None:
    """Copy this process for each connection to the socket `path`, until standard input ends."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    if sys.stdin in select.select([server, sys.stdin], [], [])[0]:  # the first one waits for the import; there was none
        return
    import tensorflow  # noqa: F401

    copies: dict[socket.socket, int] = {}
    ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    with selectors.DefaultSelector() as selector:
        for source in (server, sys.stdin, ended):
            selector.register(source, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if sys.stdin in ready:
                for pid in copies.values():
                    _signal(pid, signal.SIGKILL)
                return
            if server in ready:
                client = server.accept()[0]
                copies[client] = _copy(client, [server, ended, wake, *copies])
                selector.register(client, selectors.EVENT_READ)
            if ended in ready:
                os.read(ended, 1 << 12)
            for client in [client for client in copies if client in ready]:
                sent = client.recv(1)
                _signal(copies[client], sent[0] if sent else signal.SIGKILL)
                if not sent:  # it is gone
                    selector.unregister(client)
            _report_ends(copies, selector)


def _report_ends(copies: dict[socket.socket, int], selector: selectors.BaseSelector) -> None:
    for client, pid in [*copies.items()]:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            with suppress(OSError):
                client.send(b"%d" % os.waitstatus_to_exitcode(status))
            with suppress(KeyError):
                selector.unregister(client)
            client.close()
            del copies[client]


def _signal(pid: int, number: int) -> None:
    if number == signal.SIGKILL:
        with suppress(ProcessLookupError):  # it has no group yet
            os.killpg(pid, number)
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _copy(client: socket.socket, others: list[Any]) -> int:
    """Start a copy that runs what `client` asks for; returns its process id."""
    data, files, _, _ = socket.recv_fds(client, 1 << 20, 3)
    while not data.endswith(b"\n"):
        data += client.recv(1 << 20)
    if pid := os.fork():
        for file in files:
            os.close(file)
        return pid
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    client.close()
    for other in others:
        os.close(other) if isinstance(other, int) else other.close()
    os._exit(_run(json.loads(data)))


def _run(request: dict[str, Any]) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = [request["module"], *request["arguments"]]
    sys.path[0] = request["folder"]
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    tempfile.tempdir = None
    code = 0
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    return code


if __name__ == "__main__":
    serve(sys.argv[1])
