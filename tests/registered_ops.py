"""Measures which versions of each builtin op a runtime registers: `python -m tests.registered_ops`.

For every runtime it makes a virtual environment, installs that version from the package index, and lets its
interpreter build a model for each op and version that has an operator code and nothing else: the runtime refuses what
it has not registered. Writes `edgetf/conversion/registered_ops.json`; takes some minutes, and is run by hand when a
runtime is released.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from edgetf.flatbuffer import pack

OUT = Path(__file__).parent.parent / "edgetf" / "convert" / "registered_ops.json"
VERSIONS = range(1, 21)
RUNTIMES = [  # package, version, minor version of Python that has a wheel
    *[
        ("tflite-runtime", version, "3.9")
        for version in ("2.7.0", "2.8.0", "2.9.1", "2.10.0", "2.11.0", "2.12.0", "2.13.0")
    ],
    ("tflite-runtime", "2.14.0", "3.11"),
    *[
        ("ai-edge-litert", version, "3.11")
        for version in ("1.0.1", "1.2.0", "1.3.0", "1.4.0", "2.1.0", "2.2.0", "2.3.0")
    ],
]
_PROBE = """
import importlib, json, pickle, sys
interpreter = importlib.import_module(sys.argv[1].replace("-", "_") + ".interpreter").Interpreter
found = {}
for (name, version), content in pickle.load(open(sys.argv[2], "rb")).items():
    try:
        interpreter(model_content=content)
    except (ValueError, RuntimeError):
        continue
    found.setdefault(name, []).append(version)
print(json.dumps(found))
"""


def make_models() -> dict[tuple[str, int], bytes]:
    """A model for each op and version."""
    models = {}
    for name, code in sorted(vars(schema.BuiltinOperator).items()):
        if not isinstance(code, int) or name == "CUSTOM":
            continue
        for version in VERSIONS:
            model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
            operator.builtinCode, operator.deprecatedBuiltinCode = code, min(code, 127)
            operator.version = version
            graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
            model.version, model.operatorCodes, model.subgraphs = 3, [operator], [graph]
            model.buffers = [schema.BufferT()]
            models[name, version] = pack(model)
    return models


def find_python(minor: str) -> str | None:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{minor}"), *map(str, sorted(root.glob(f"versions/{minor}.*/bin/python")))]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def probe(package: str, version: str, python: str, models: Path, folder: Path) -> dict[str, int] | None:
    """The latest version of each op, or None if the package is not available. Gaps would be an error."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    bare = str(folder / "bin" / "python")
    install = [bare, "-m", "pip", "install", "-q", "--only-binary=:all:", f"{package}=={version}", "numpy<2"]
    if subprocess.run(install, capture_output=True, check=False).returncode:
        return None
    ended = subprocess.run([bare, "-c", _PROBE, package, str(models)], capture_output=True, text=True, check=True)
    found: dict[str, list[int]] = json.loads(ended.stdout.splitlines()[-1])
    for name, versions in found.items():
        assert versions == list(range(min(versions), max(versions) + 1)), name
        assert max(versions) < VERSIONS.stop - 1, name
    return {name: max(versions) for name, versions in found.items()}


def main() -> None:
    measured: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        models = Path(temporary, "models")
        models.write_bytes(pickle.dumps(make_models()))
        for package, version, minor in RUNTIMES:
            python = find_python(minor)
            found = probe(package, version, python, models, Path(temporary, f"{package}-{version}")) if python else None
            sys.stderr.write(f"{package} {version}: {len(found) if found else 'not to be had'}\n")
            if found:
                measured[f"{package}=={version}"] = found
    lines = [f" {json.dumps(name)}: {json.dumps(ops, sort_keys=True)}" for name, ops in measured.items()]
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
