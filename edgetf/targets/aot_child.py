"""Compiles one variant for an accelerator, in a process of its own: LiteRT's compiler prints, and leaves files.

In: a request as JSON on standard input. Out: an answer as JSON, the last line of standard output.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

_VENDORS = "ai_edge_litert.aot.vendors"


def main() -> int:
    """Answer with the path of the compiled file, or with the reason and the log."""
    answer, request = os.fdopen(os.dup(1), "w"), json.loads(sys.stdin.read())
    os.dup2(2, 1)  # libraries print
    logging.disable()
    tempfile.tempdir = request["folder"]  # the compiler leaves its log there
    found = _compile(request)
    answer.write(json.dumps(found) + "\n")
    answer.flush()
    return 0


def _compile(request: dict[str, Any]) -> dict[str, str]:
    module, folder = request["module"], Path(request["folder"])
    compiler = importlib.import_module("ai_edge_litert.aot.aot_compile")
    types = importlib.import_module("ai_edge_litert.aot.core.aot_types")
    target = importlib.import_module(f"{_VENDORS}.{module}.target")
    importlib.import_module(f"{_VENDORS}.{module}.{module}_backend")  # registers itself
    config = types.CompilationConfig(target=target.Target(target.SocModel(request["soc"])), **request["options"])
    try:
        result = compiler.aot_compile(request["path"], output_dir=str(folder / "out"), config=config, keep_going=True)
    except Exception as error:  # of any vendor's plugin
        return {"error": f"{type(error).__name__}: {error}", "log": _log(folder)}
    if result.failed_backends or not result.models_with_backend:
        reasons = "; ".join(str(why) for _, why in result.failed_backends)
        return {"error": reasons or "it made no file", "log": _log(folder)}
    [(_, model)] = result.models_with_backend
    return {"path": str(model.path)}


def _log(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace")[-20_000:] for path in sorted(folder.glob("*.error")))


if __name__ == "__main__":
    sys.exit(main())
