import os
import subprocess
import sys

import pytest
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from kedro.io import MemoryDataset
from project_paths import STUDIED

from miram.mammography.sources import SOURCES
from miram.models.methods import METHODS, SUPERVISED
from miram.pipeline_registry import STUDY

ENVIRONMENTS = (
    *("base", "test", "paper", "paper_improved", "medical_mae", "real_small"),
    "attention_sweep",
)


@pytest.fixture(scope="module")
def registered(project):
    bootstrap_project(project)
    return dict(pipelines)


def test_every_pipeline_of_the_study_is_registered_under_its_command(registered):
    assert set(STUDY) <= set(registered)
    together = {node.name for name in STUDY for node in registered[name].nodes}
    assert {node.name for node in registered["__default__"].nodes} == together


def test_nodes_are_tagged_by_stage_and_method(registered):
    study = registered["__default__"]
    for stage in STUDY:
        assert set(study.only_nodes_with_tags(stage).nodes) == set(registered[stage].nodes)
    mae = {node.name for node in study.only_nodes_with_tags("mae").nodes}
    assert mae == {
        f"mae.{name}" for name in ("pretrain_encoder", "encode_lesions", "evaluate_encoder")
    }


def test_no_pipeline_has_an_undeclared_dataset(registered, open_context, tmp_path):
    catalog = open_context(tmp_path).catalog
    names = {name for pipeline in registered.values() for name in pipeline.datasets()}
    undeclared = {
        name
        for name in names
        if not name.startswith("params:")
        and name != "parameters"
        and (name not in catalog or isinstance(catalog.get(name), MemoryDataset))
    }
    assert not undeclared


def test_every_dataset_has_a_layer_and_lies_under_the_data_root(registered, open_context, tmp_path):
    catalog = open_context(tmp_path).catalog
    names = {name for pipeline in registered.values() for name in pipeline.datasets()}
    for name in sorted(name for name in names if not name.startswith("param")):
        dataset = catalog.get(name)
        assert dataset.metadata["kedro-viz"]["layer"], name
        path = getattr(dataset, "_filepath", None) or dataset._path  # of a PartitionedDataset
        assert str(path).startswith(str(tmp_path)), name


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_every_method_has_parameters_and_no_parameters_are_without_a_method(
    env, open_context, tmp_path
):
    parameters = open_context(tmp_path, env=env).params
    named = [name for name, block in parameters.items() if isinstance(block, dict)]
    known = METHODS if env == "attention_sweep" else STUDIED
    assert sorted(name for name in named if "method" in parameters[name]) == sorted(known)


def test_the_sweep_differs_in_the_attention_of_scale_2_alone(open_context, tmp_path):
    from miram.models.attention import ATTENTIONS

    parameters = open_context(tmp_path, env="attention_sweep").params
    assert set(parameters["methods"]) == {
        "random",
        "mae",
        *(f"miram_{kind}" for kind in ATTENTIONS),
    }
    blocks = [parameters[f"miram_{kind}"]["method"].model_dump() for kind in ATTENTIONS]
    assert [block["decoders"][1].pop("attention")["kind"] for block in blocks] == list(ATTENTIONS)
    assert all(block == blocks[0] for block in blocks)


def test_parameters_of_every_method_are_typed(open_context, tmp_path):
    from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig

    parameters = open_context(tmp_path, env="paper").params
    nystrom = parameters["miram_nystrom"]["method"]
    assert isinstance(nystrom, MaskedAutoencoderConfig)
    assert [decoder.attention.kind for decoder in nystrom.decoders] == ["softmax", "nystrom"]
    assert nystrom.crop_size(parameters["encoder"]) == parameters["rois"].image_size == 448


def test_the_medical_preset_hides_nine_in_ten_patches_and_predicts_raw_pixels(
    open_context, tmp_path
):
    parameters = open_context(tmp_path, env="medical_mae").params
    methods = [parameters[name]["method"] for name in STUDIED if name != SUPERVISED]
    masked = [method for method in methods if method.kind == "masked_autoencoder"]
    assert len(masked) == 7
    assert {(method.mask_ratio, method.norm_pix) for method in masked} == {(0.9, False)}
    assert parameters["training"].augmentation.min_area == 0.5


def test_every_source_has_options(open_context, tmp_path):
    assert set(open_context(tmp_path).params["sources"]) == set(SOURCES)


def test_kedro_viz_shows_no_table_that_names_files(open_context, tmp_path):
    catalog = open_context(tmp_path).catalog
    for name in ("ingest_audit", "identities"):
        assert catalog.get(name).metadata["kedro-viz"]["preview"] is False
    assert not hasattr(catalog.get("pseudonym_key"), "preview")


def test_the_key_of_pseudonyms_comes_from_the_environment_or_is_random(
    open_context, tmp_path, monkeypatch
):
    assert open_context(tmp_path).catalog.load("pseudonym_key").given == ""
    monkeypatch.setenv("MIRAM_PSEUDONYM_KEY", "a key of the hospital")
    key = open_context(tmp_path).catalog.load("pseudonym_key")
    assert key.read() == b"a key of the hospital"
    assert "hospital" not in repr(open_context(tmp_path).catalog.get("pseudonym_key"))


def test_every_node_is_named_and_each_method_is_a_namespace(registered):
    nodes = registered["pretrain"].nodes + registered["probe"].nodes
    assert {node.namespace for node in nodes} == set(METHODS)
    short = {node.name.removeprefix(f"{node.namespace}.") for node in nodes}
    assert short == {
        "pretrain_encoder",
        "train_supervised_encoder",
        "encode_lesions",
        "evaluate_encoder",
    }


def test_listing_pipelines_imports_neither_torch_nor_mlflow(project):
    code = (
        "import sys; from pathlib import Path; from kedro.framework.startup import "
        "bootstrap_project; bootstrap_project(Path.cwd()); from kedro.framework.project import "
        "pipelines; assert len(dict(pipelines)) > 6; "
        "print([name for name in ('torch', 'mlflow', 'timm', 'plotly') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    run = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip().splitlines()[-1] == "[]"
