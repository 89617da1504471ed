"""The child process of a worker: `python -m edgetf.plans.fleet.child`, a call as JSON on standard input.

It runs one function of edgetf, and answers only if that fails: with the exit code, the cause and the message.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

from edgetf.errors import DeviceError, EdgetfError
from edgetf.functions import from_folder
from edgetf.plans.call import Call
from edgetf.plans.fleet.host_side import as_failed
from edgetf.plans.record import Verb
from edgetf.process import EventPipe
from edgetf.system import explained


def main() -> None:
    events, asked = EventPipe(), json.load(sys.stdin)
    call = Call("", Verb(asked["verb"]), asked["arguments"], (), asked["device"])
    more = {} if asked["device"] is None else {"devices": asked["devices"], "no_wait": not asked["wait"]}
    modules = contextlib.nullcontext() if asked["modules"] is None else from_folder(Path(asked["modules"]))
    try:
        with explained(), modules:
            call.run(Path(asked["place"]), events.send, **more)
    except EdgetfError as raised:
        error = as_failed(raised)
        cause = error.cause.value if isinstance(error, DeviceError) else None
        code = int(error.exit_code)
        events.answer("failed", exit_code=code, cause=cause, message=error.message, hint=error.hint)


if __name__ == "__main__":
    main()
