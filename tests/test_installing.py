"""The hint for a missing package is a command that works with the source that edgetf was installed from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgetf.errors import MissingExtraError
from edgetf.installing import how_to_install

METADATA = """Metadata-Version: 2.1
Name: edgetf
Version: 0.1.0
Requires-Dist: numpy>=1.24
Requires-Dist: ai-edge-litert-none>=2.1; extra == "litert"
Requires-Dist: scipy-none>=1.11; extra == 'report'
Requires-Dist: numpy>=1.24; extra == "report"
Requires-Dist: edgetf[litert,report]; extra == "convert"
Requires-Dist: tensorflow-none>=2.18 ; extra == "convert"
Requires-Dist: edgetf[convert]; extra == "tfds"
Requires-Dist: importlib_resources_none>=6; python_version < "3.11" and extra == "tfds"
Requires-Dist: tensorflow[and-cuda]>=2.18; extra == "gpu"
Requires-Dist: tflite-runtime-none>=2.14; extra == "tflite-runtime"
Requires-Dist: plain-none; (python_version < "3.12" and sys_platform == "linux") and extra == "all"
Requires-Dist: numpy; extra == "broken"
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The metadata of an installed edgetf, which is found before the real one."""
    info = tmp_path / "edgetf-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(tmp_path)
    return info


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("report", '"scipy-none>=1.11"'),
        ("tflite-runtime", '"tflite-runtime-none>=2.14"'),
        ("convert", '"ai-edge-litert-none>=2.1" "scipy-none>=1.11" "tensorflow-none>=2.18"'),
        (
            "tfds",
            '"ai-edge-litert-none>=2.1" "scipy-none>=1.11" "tensorflow-none>=2.18" '
            "\"importlib_resources_none>=6; python_version < '3.11'\"",
        ),
        ("gpu", '"tensorflow[and-cuda]>=2.18"'),
        ("all", "\"plain-none; (python_version < '3.12' and sys_platform == 'linux')\""),
        ("broken", "numpy"),  # it is installed, and does not load
        ("unknown", "the-package"),
    ],
)
def test_from_an_index_or_a_wheel_the_missing_packages_of_the_extra_are_named(
    installed: Path, extra: str, packages: str
) -> None:
    assert how_to_install(extra, "the-package") == f"pip install {packages}"


@pytest.mark.parametrize(
    ("direct", "argument"),
    [
        ({"url": "file://{here}", "dir_info": {}}, '"edgetf[report] @ file://{here}"'),
        ({"url": "file://{here}", "dir_info": {"editable": True}}, '-e "{here}[report]"'),
        ({"url": "file://{here}/with%20space", "dir_info": {"editable": True}}, '-e "{here}/with space[report]"'),
        ({"url": "file://{here}/e.whl", "archive_info": {}}, '"edgetf[report] @ file://{here}/e.whl"'),
        ({"url": "https://a.org/e.whl", "archive_info": {}}, '"edgetf[report] @ https://a.org/e.whl"'),
        (
            {"url": "https://a.org/e.git", "vcs_info": {"vcs": "git", "commit_id": "1a2b"}, "subdirectory": "python"},
            '"edgetf[report] @ git+https://a.org/e.git@1a2b#subdirectory=python"',
        ),
    ],
)
def test_an_install_from_an_address_uses_the_same_address_again(
    installed: Path, tmp_path: Path, direct: dict[str, Any], argument: str
) -> None:
    (tmp_path / "with space").mkdir()
    (tmp_path / "e.whl").touch()
    (installed / "direct_url.json").write_text(json.dumps(direct).replace("{here}", str(tmp_path)))
    assert how_to_install("report", "scipy") == f"pip install {argument.replace('{here}', str(tmp_path))}"


@pytest.mark.parametrize(
    "direct",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"url": "file:///nowhere/edgetf", "dir_info": {}}',  # removed since
        '{"url": "https://user:password@a.org/e.git", "vcs_info": {"vcs": "git"}}',  # a message would hide the password
    ],
)
def test_an_address_that_does_not_work_is_not_named(installed: Path, direct: str) -> None:
    (installed / "direct_url.json").write_text(direct)
    assert how_to_install("report", "scipy") == 'pip install "scipy-none>=1.11"'


def test_without_an_installed_edgetf_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert MissingExtraError("scipy", "report").hint == "pip install scipy"


def test_no_hint_names_edgetf_on_a_package_index() -> None:
    import edgetf

    for path in Path(edgetf.__file__).parent.rglob("*.py"):
        assert 'install "edgetf[' not in path.read_text(), path
