"""Parts of the static Kedro-Viz site: which datasets are in which box, and who gets no site."""

import json

import numpy as np
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from project_paths import PROJECT

from miram.errors import MiramError
from miram.integrations.viz.boxes import datasets_in_boxes
from miram.integrations.viz.site import (
    build,
    check,
    layers_in_order,
    main,
    not_below,
    tables_of_others,
)
from miram.mammography.audit import audit_rows
from miram.mammography.crops.store import write_store
from miram.mammography.lesion_table import validate_lesions


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


def _write_crop(folder, image_id):
    row = {"crop_id": "1", "kind": "lesion", "patient_id": "P_1", "image_id": image_id}
    manifest = pd.DataFrame([{**row, "source_bits": 16, "upsampled": False}])
    pixels = np.zeros((1, 8, 8), np.uint16)
    write_store(
        folder,
        [{"crops": pixels, "masks": np.zeros((1, 1, 1), np.uint8)}],
        manifest=manifest,
        audit=audit_rows([]),
        parameters={"side": 8},
        tasks={},
    )


@pytest.fixture
def finished(tmp_path):
    """A finished study in the project's data folder: `finished(image_path)` gives its context."""
    bootstrap_project(PROJECT)
    for path in ("data/01_raw/phantom/P_1/a.dcm", "clinic/b.dcm", "data/08_reporting/report.html"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    def make(image_path, image_id="1"):
        row = {"lesion_id": "1", "patient_id": "P_1", "image_id": "1", "leaks": False}
        table = validate_lesions(
            pd.DataFrame([{**row, "image_path": image_path, "mask_paths": []}])
        )
        folders = {"data_root": str(tmp_path / "data")}
        context = KedroSession.create(PROJECT, runtime_params=folders).load_context()
        context.catalog.save("lesions", table)
        _write_crop(tmp_path / "data/05_model_input/crops", image_id)
        return context

    return make


def test_a_study_of_the_phantom_becomes_a_site(finished):
    check(finished("P_1/a.dcm"))


@pytest.mark.parametrize(
    "path", ["b.dcm", "../../../clinic/b.dcm", "P_1", "P_1/missing.dcm", "{clinic}/b.dcm"]
)
def test_other_data_in_the_folder_of_the_phantom_becomes_no_site(finished, tmp_path, path):
    """The parameter `source` tells of the next run, not of what lies there."""
    context = finished(path.format(clinic=tmp_path / "clinic"))
    assert context.params["source"] == "phantom"
    with pytest.raises(MiramError, match="not of the phantom"):
        check(context)


def test_crops_of_an_earlier_study_become_no_site(finished):
    with pytest.raises(MiramError, match="crops are of other images"):
        check(finished("P_1/a.dcm", image_id="another"))


def test_a_preview_of_other_lesions_is_found(tmp_path):
    def answer(name, columns, rows):
        preview = {"columns": columns, "index": [0], "data": rows}
        text = json.dumps({"filepath": f"data/{name}", "preview": preview})
        (tmp_path / name).write_text(text)

    columns = ["patient_id", "lesion_id"]
    answer("ours.parquet", columns, [["P_1", "a"], ["P_2", "b"]])
    answer("theirs.parquet", columns, [["P_1", "a"], ["P_9", "c"]])
    answer("audit.csv", ["lesion_id", "code"], [["left out", "no_mask"]])
    (tmp_path / "crops").write_text(json.dumps({"preview": "iVBORw0KGgo="}))
    (tmp_path / "step").write_text(json.dumps({"code": "..."}))
    assert tables_of_others(tmp_path, ["a", "b"]) == ["theirs.parquet"]


def test_a_link_out_of_the_folder_is_not_below_it(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside.dcm").touch()
    (tmp_path / "inside/link.dcm").symlink_to(tmp_path / "outside.dcm")
    (tmp_path / "inside/a.dcm").touch()
    assert not_below(tmp_path / "inside", ["a.dcm", "link.dcm", "link.dcm"]) == ["link.dcm"]


def test_a_layer_that_the_whole_study_lacks_comes_last():
    assert layers_in_order(["embedding", "models", "raw"], ["raw", "models", "reporting"]) == [
        "raw",
        "models",
        "embedding",
    ]


def test_without_a_study_the_command_to_run_is_told(tmp_path, monkeypatch, capsys):
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    for name in ("conf", "pyproject.toml"):
        (project / name).symlink_to(PROJECT / name)
    monkeypatch.chdir(project)
    with pytest.raises(MiramError, match="make demo"):
        build(project)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == "miram: there is no finished study to show: run `make demo` first"
    assert not (project / "build").exists()
