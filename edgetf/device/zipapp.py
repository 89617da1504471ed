"""The runner as one file: `edgetf-runner.pyz`, the same bytes for the same code: it can be content-addressed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

_MAIN = b"import sys\nfrom runner.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"


def build_runner() -> bytes:
    """The bytes of a zipapp that holds `device/runner` and starts it. Needs Python 3.9+ and numpy on the device."""
    sources = {f"runner/{path.name}": path.read_bytes() for path in (Path(__file__).parent / "runner").glob("*.py")}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted({"__main__.py": _MAIN, **sources}.items()):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()
