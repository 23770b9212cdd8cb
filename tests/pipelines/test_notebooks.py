"""Notebooks run from the first cell to the last, and are kept in git without outputs."""

import nbformat
import pytest
from nbclient import NotebookClient

# Settings under which a notebook takes seconds, and the pictures that it draws.
TINY = {
    "first_look": ({"MIRAM_ENV": "test"}, 2),
    "attention_cost": ({"MIRAM_GRIDS": "12", "MIRAM_SECONDS": "0.01"}, 1),
    "your_own_lesions": ({"MIRAM_PATIENTS": "20", "MIRAM_DRAWS": "100"}, 1),
}


def run(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    reported = [output["text"] for output in first.outputs if output.get("name") == "stderr"]
    # What torch says of a machine with half a CUDA is not of the notebook.
    assert not [text for text in reported if "No CUDA runtime is found" not in text]
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def pictures(outputs):
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_every_notebook_is_run_here(project):
    assert {path.stem for path in project.glob("notebooks/*.ipynb")} == set(TINY)


@pytest.mark.parametrize("name", TINY)
def test_notebook_has_no_outputs_in_git(name, project):
    notebook = nbformat.read(project / f"notebooks/{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert not any(cell.get("execution_count") for cell in notebook.cells)


def test_first_look_runs_on_a_finished_study(project, study, monkeypatch):
    settings, drawn = TINY["first_look"]
    places = {"MIRAM_PROJECT": str(project), "MIRAM_DATA_ROOT": str(study)}
    for name, value in {**settings, **places}.items():
        monkeypatch.setenv(name, value)
    assert pictures(run(project / "notebooks/first_look.ipynb")) == drawn


@pytest.mark.parametrize("name", [name for name in TINY if name != "first_look"])
def test_notebook_runs_without_a_study(name, project, tmp_path, monkeypatch):
    settings, drawn = TINY[name]
    for setting, value in settings.items():
        monkeypatch.setenv(setting, value)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    outputs = run(project / f"notebooks/{name}.ipynb")
    assert pictures(outputs) == drawn
    # Every table of metrics comes with the numbers that it rests on.
    text = "\n".join(output.get("data", {}).get("text/plain", "") for output in outputs)
    words = {"attention_cost": "faster from", "your_own_lesions": "patients"}
    assert words[name] in text and "NaN" not in text
