"""docs/notebook.ipynb, executed as Jupyter would."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

from edgetf.verdicts import Verdict
from tests.docs.pages import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def test_the_notebook_goes_from_a_model_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGETF_HISTORY", str(tmp_path / "history.sqlite"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) == 5
    assert not any(cell.outputs for cell in cells)  # outputs of a machine are not kept
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in cells[1:4]:  # results have their own display
        assert "<pre" in cell.outputs[-1].data["text/html"]
    printed = "".join(output.text for output in cells[4].outputs if output.output_type == "stream")
    assert printed.startswith(tuple(f"{one.label}: accuracy drop" for one in (Verdict.PASS, Verdict.INCONCLUSIVE)))
    assert (tmp_path / "report.html").is_file()
