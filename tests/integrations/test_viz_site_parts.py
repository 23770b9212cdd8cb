"""Parts of the static Kedro-Viz site: which datasets are in which box, and who gets no site."""

from pathlib import Path

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from miram.errors import MiramError
from miram.integrations.viz_boxes import datasets_in_boxes
from miram.integrations.viz_site import build, check

PROJECT = Path(__file__).parents[2]


def node(name, kind):
    return {"id": name, "name": name, "type": kind, "modular_pipelines": None}


def edge(ends):
    source, target = ends.split(" > ")
    return {"source": source, "target": target}


@pytest.fixture
def graph():
    """Crops train `mae`; `mae.metrics` are read by its own step and by the report."""
    data = ["crops", "mae.folder", "mae.metrics", "mae.card"]
    tasks = ["cut", "train", "describe", "report"]
    edges = ["cut > crops", "crops > train", "crops > mae", "mae.folder > train"]
    edges += ["mae.folder > mae", "train > mae.metrics", "mae > mae.metrics"]
    edges += ["mae.metrics > describe", "mae.metrics > report", "report > mae.card"]
    children = [{"id": name, "type": "task"} for name in ("train", "describe")]
    outer = ["mae.folder", "mae.metrics", "crops", "mae.card", "cut", "report", "mae"]
    return {
        "nodes": [
            *(node(name, "data") for name in data),
            *(node(name, "task") for name in tasks),
            node("mae", "modularPipeline"),
        ],
        "edges": [edge(ends) for ends in edges],
        "layers": ["raw"],
        "modular_pipelines": {
            "__root__": {"inputs": [], "outputs": [], "children": [{"id": i} for i in outer]},
            "mae": {
                "inputs": ["crops", "mae.folder"],
                "outputs": ["mae.metrics"],
                "children": children,
            },
        },
    }


def test_what_a_method_reads_or_writes_alone_is_in_its_box(graph):
    found = datasets_in_boxes(graph)
    boxes = found["modular_pipelines"]
    assert {child["id"] for child in boxes["mae"]["children"]} == {
        "train",
        "describe",
        "mae.folder",
        "mae.metrics",
    }
    assert boxes["mae"]["inputs"] == ["crops"]
    assert boxes["mae"]["outputs"] == []
    outer = {child["id"] for child in boxes["__root__"]["children"]}
    assert outer == {"crops", "mae.card", "cut", "report", "mae"}
    owners = {node["name"]: node["modular_pipelines"] for node in found["nodes"]}
    assert owners["mae.metrics"] == ["mae"]
    assert owners["mae.card"] is None


def test_a_closed_box_is_connected_with_who_reads_what_is_in_it(graph):
    edges = {f"{end['source']} > {end['target']}" for end in datasets_in_boxes(graph)["edges"]}
    assert "mae > report" in edges
    assert "mae.metrics > report" in edges  # for when the box is open
    assert "crops > mae" in edges
    assert not {"mae > mae.metrics", "mae.folder > mae", "mae > describe"} & edges


def test_nothing_is_lost_or_changed_in_place(graph):
    before = repr(graph)
    found = datasets_in_boxes(graph)
    assert repr(graph) == before
    assert [node["id"] for node in found["nodes"]] == [node["id"] for node in graph["nodes"]]
    assert found["layers"] == graph["layers"]


def test_a_study_of_patients_becomes_no_site(tmp_path):
    bootstrap_project(PROJECT)
    folders = {"raw_root": str(tmp_path), "data_root": str(tmp_path)}
    runtime = {"source": "cbis_ddsm", **folders}
    context = KedroSession.create(PROJECT, runtime_params=runtime).load_context()
    with pytest.raises(MiramError, match="cbis_ddsm"):
        check(context)


def test_without_a_study_the_command_to_run_is_told(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    for name in ("conf", "pyproject.toml"):
        (project / name).symlink_to(PROJECT / name)
    monkeypatch.chdir(project)
    with pytest.raises(MiramError, match="make demo"):
        build(project)
    assert not (project / "build").exists()
