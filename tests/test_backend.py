from __future__ import annotations

import sys

import pytest

from edgetf.backend import _hidden


def test_packages_that_are_not_loaded_cannot_be_imported_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = sys.modules["json"]
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with _hidden(["json", "colorsys", "wave"]):
        assert sys.modules["json"] is loaded
        with pytest.raises(ImportError):
            import colorsys
    import colorsys

    assert colorsys.rgb_to_yiq(0, 0, 0)[0] == 0
    assert sys.modules.get("wave", "") is not None
