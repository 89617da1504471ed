"""The runner as one file: `edgetf-runner.pyz`, the same bytes for the same code: it can be content-addressed."""

from __future__ import annotations

import functools
import importlib.util
import io
import marshal
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path

_MAIN = b"import sys\nfrom runner.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"
_RUNNER = Path(__file__).parent / "runner"
_UNCHECKED = (1).to_bytes(4, "little")  # flags of byte code that is used without a look at its source (PEP 552)


@functools.cache
def build_runner(compiled: bool = False) -> bytes:
    """The bytes of a zipapp that holds `device/runner` and starts it. Needs Python 3.9+ and numpy on the device.

    With `compiled` it also has the byte code of this Python, so that it starts in less time. Others ignore that.
    """
    files = {f"runner/{path.name}": path.read_bytes() for path in _RUNNER.glob("*.py")}
    if compiled:
        files |= {f"runner/{path.name}c": _byte_code(path) for path in _RUNNER.glob("*.py")}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted({"__main__.py": _MAIN, **files}.items()):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def _byte_code(path: Path) -> bytes:
    """The content of the `.pyc` file of a module."""
    code = SourceFileLoader(path.stem, str(path)).get_code(path.stem)  # of __pycache__, if it is there
    return (
        importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(path.read_bytes()) + marshal.dumps(code)
    )
