"""Notebooks run from the first cell to the last, and are kept in git without outputs."""

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = ("first_look",)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_has_no_outputs_in_git(name, project):
    notebook = nbformat.read(project / f"notebooks/{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_on_a_finished_study(name, project, study, monkeypatch):
    monkeypatch.setenv("MIRAM_PROJECT", str(project))
    monkeypatch.setenv("MIRAM_ENV", "test")
    monkeypatch.setenv("MIRAM_DATA_ROOT", str(study))
    notebook = nbformat.read(project / f"notebooks/{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    images = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(images) == 2
