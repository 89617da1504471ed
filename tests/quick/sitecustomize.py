"""Python imports this at its start where this folder is on its path: the commands that tests run are quick.

Benchmarks take the fewest turns: the commands are run for what they print and write, not for their times, and a machine
that is busy with other tests makes each benchmark three times as long. A process that starts for TensorFlow is not
started: a copy of the one in `ready.py` takes its place, because importing TensorFlow takes four fifths of its time.
"""

import contextlib
import os
import sys


def _hand_over(path: str, module: str) -> None:
    """Let a copy of the process that listens at `path` run `module`, and end as it ends; return if it cannot."""
    import json
    import signal
    import socket
    from pathlib import Path

    with socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
        server.connect(path)
        request = {"module": module, "arguments": sys.orig_argv[3:], "folder": str(Path.cwd()), "env": dict(os.environ)}
        socket.send_fds(server, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, lambda number, frame: server.send(bytes([number])))
        answer = server.recv(4)
        code = int(answer) if answer else 1
        if code < 0:
            signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)


with contextlib.suppress(ImportError):  # another environment: it has no edgetf
    import edgetf.defaults

    edgetf.defaults.BLOCKS = 2
    edgetf.defaults.PATIENCE = 1

if os.environ.get("EDGETF_TESTS_READY") and sys.orig_argv[1:2] == ["-m"]:
    from ready import MODULES, settings, socket_of  # type: ignore[import-not-found]

    if sys.orig_argv[2] in MODULES and settings(os.environ) == os.environ["EDGETF_TESTS_SETTINGS"]:
        _hand_over(socket_of(os.environ["EDGETF_TESTS_READY"], os.environ), sys.orig_argv[2])
