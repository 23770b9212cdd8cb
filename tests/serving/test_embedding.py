"""Embedding a folder: the numbers of training, nothing done twice, nothing lost without a row."""

import dataclasses
import json
import signal
import subprocess
import sys
import tracemalloc
from importlib.metadata import version

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pydicom
import pytest
import small_predictor as small
from miram_command import call_miram

from miram.errors import MiramError
from miram.evaluation.features.extract import extract_features
from miram.integrations.embedding import find_mammograms, plan_folder
from miram.mammography.crops.cut import cut_image
from miram.mammography.crops.plan import plan_crops
from miram.mammography.sources import make_source
from miram.mammography.sources.wanted import WantedImages
from miram.serving.embed import EmbeddingConfig, embed, plan_embedding

FILES = 8
FEATURES = [f"f{k}" for k in range(192)]
# The process ends itself, as by the kernel, in the act of putting the sixth part into its place.
KILLED_AT = 6
KILLED = f"""
import os, signal, sys
from miram.commands.app import main
renamed = 0
def watch(event, arguments):
    global renamed
    if event == "os.rename" and str(arguments[1]).endswith(".npz"):
        renamed += 1
        if renamed == {KILLED_AT}:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def lesions(tiny_phantom):
    return make_source("phantom").ingest(tiny_phantom).lesions


@pytest.fixture
def folder(tiny_phantom, lesions, tmp_path):
    """A few full mammograms as DICOM files, and one that breaks off."""
    folder = tmp_path / "new"
    folder.mkdir()
    paths = sorted(lesions["image_path"].unique())[:FILES]
    for number, path in enumerate(paths):
        (folder / f"{number}.dcm").write_bytes((tiny_phantom / path).read_bytes())
    whole = (folder / "0.dcm").read_bytes()
    (folder / "broken.dcm").write_bytes((folder / "1.dcm").read_bytes()[:-1000])
    (folder / "1.dcm").write_bytes(whole)  # the same image twice
    return folder


def plan(folder, predictor=None, source="dicom_folder", **config):
    ingested = make_source(source).ingest(folder)
    predictor = predictor or small.make_predictor()
    return plan_embedding(ingested, folder, predictor, EmbeddingConfig(workers=1, **config))


def test_marked_lesions_get_the_features_of_the_study(tiny_phantom, lesions, tmp_path):
    predictor = small.make_predictor("mean+lesion")
    everything = plan(tiny_phantom, predictor, "phantom")
    few = dataclasses.replace(everything, tasks=everything.tasks[:4])
    embed(few, tmp_path / "features.parquet")
    found = pd.read_parquet(tmp_path / "features.parquet").set_index("region_id")
    crops = predictor.crops.model_copy(update={"backgrounds_per_image": 0})
    cuts = [
        cut_image(task, tiny_phantom, crops)
        for task in plan_crops(lesions, tiny_phantom, crops).tasks[:4]
    ]
    assert len(found) == sum(len(cut.rows) for cut in cuts)
    for cut in cuts:
        names = [row["crop_id"] for row in cut.rows]
        expected = extract_features(predictor.encoder, cut.crops, cut.masks, predictor.features)
        columns = [f"f{k}" for k in range(expected.shape[1])]
        np.testing.assert_allclose(found.loc[names, columns], expected, atol=1e-5)
        chances = predictor.probe.probabilities(expected)
        np.testing.assert_allclose(found.loc[names, "p_malignant"], chances[:, 1], atol=1e-6)
        assert (found.loc[names, "kind"] == "lesion").all()
        squares = [[row[f"crop_{side}"] for side in ("x0", "y0", "x1", "y1")] for row in cut.rows]
        np.testing.assert_array_equal(found.loc[names, ["x0", "y0", "x1", "y1"]], squares)


def test_an_unmarked_mammogram_is_the_mean_of_its_patches(folder, tmp_path):
    embed(plan(folder), tmp_path / "images.parquet")
    embed(plan(folder, rows="patches"), tmp_path / "patches.parquet")
    images = pd.read_parquet(tmp_path / "images.parquet").set_index("image_id")
    patches = pd.read_parquet(tmp_path / "patches.parquet")
    assert (images["kind"] == "tissue").all() and (images["patches"] == 4).all()
    assert len(patches) == 4 * len(images)
    means = patches.groupby("image_id")[FEATURES].mean().loc[images.index]
    np.testing.assert_allclose(images[FEATURES], means, atol=1e-5)
    expected = small.make_predictor().probe.probabilities(images[FEATURES].to_numpy())
    np.testing.assert_allclose(images[["p_benign", "p_malignant"]], expected, atol=1e-9)


def test_every_file_has_a_row_or_a_reason(folder, tmp_path):
    summary = embed(plan(folder), tmp_path / "features.parquet")
    table = pd.read_parquet(tmp_path / "features.parquet")
    audit = pd.read_csv(tmp_path / "features.audit.csv", keep_default_na=False)
    left_out = audit[audit["action"] == "left out"]
    assert dict(zip(left_out["file"], left_out["code"], strict=True)) == {
        "1.dcm": "duplicate",
        "broken.dcm": "image_truncated",
    }
    assert {*table["image_path"], *left_out["file"]} == {path.name for path in folder.iterdir()}
    assert (summary.mammograms, summary.rows, summary.left_out) == (7, 7, 2)


def test_a_killed_run_resumes_where_it_was_and_ends_with_the_same_table(folder, tmp_path, caplog):
    small.make_predictor().save(tmp_path / "predictor")
    model = str(tmp_path / "predictor")
    out, whole = tmp_path / "features.parquet", tmp_path / "whole.parquet"
    arguments = [str(folder), "--model", model, "--out", str(out), "--workers", "1"]
    command = [sys.executable, "-c", KILLED, "embed", *arguments]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert not out.exists()
    parts = sorted((tmp_path / ".features.parquet.parts").glob("[!.]*.npz"))
    assert len(parts) == KILLED_AT - 1

    with caplog.at_level("INFO", logger="miram"):
        embed(plan(folder, model=model), out)
    assert f"{FILES - KILLED_AT + 1} of {FILES} mammograms to embed" in caplog.text
    assert not (tmp_path / ".features.parquet.parts").exists()

    embed(plan(folder, model=model), whole)
    pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(whole))
    assert out.read_bytes() == whole.read_bytes()


def test_finished_parts_are_taken_over_and_those_of_another_model_are_not(folder, tmp_path):
    out = tmp_path / "features.parquet"
    parts = tmp_path / ".features.parquet.parts"
    embed(plan(folder), out)
    kept = _interrupted(plan(folder), out, parts)
    marked = _read(kept[0]) + 100  # if it were computed again, this would be gone
    _write(kept[0], marked)
    embed(plan(folder), out)
    taken = pd.read_parquet(out)
    kept = _interrupted(plan(folder), out, parts)
    _write(kept[0], marked)
    embed(plan(folder, small.make_predictor(symmetries=8)), out)
    other = pd.read_parquet(out)
    assert (taken[FEATURES] > 50).all(axis=1).sum() == 1
    assert not (other[FEATURES] > 50).all(axis=1).any()


def _interrupted(work, out, parts):
    """Parts as an interruption before the end leaves them: there is nowhere to write the table."""
    out.unlink(missing_ok=True)
    out.mkdir()
    with pytest.raises(OSError, match="directory"):
        embed(work, out)
    out.rmdir()
    return sorted(path for path in parts.glob("*.npz") if len(_read(path)))


def _read(path):
    with np.load(path) as file:
        return file["features"]


def _write(path, features):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "features": features})


def test_memory_does_not_grow_with_the_number_of_files(folder, tmp_path):
    once = plan(folder)
    many = dataclasses.replace(
        once,
        tasks=tuple(
            dataclasses.replace(task, image_id=f"{task.image_id}.{n}")
            for n in range(6)
            for task in once.tasks
        ),
    )
    embed(once, tmp_path / "warm.parquet")
    peaks = []
    for name, work in (("once", once), ("many", many)):
        tracemalloc.start()
        summary = embed(work, tmp_path / f"{name}.parquet")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert summary.mammograms == 42
    assert peaks[1] < 1.2 * peaks[0]


def test_without_a_single_readable_mammogram_the_audit_is_named(folder, tmp_path):
    for path in folder.iterdir():
        if path.name != "broken.dcm":
            path.unlink()
    with pytest.raises(MiramError, match=r"image_truncated.*features\.audit\.csv"):
        embed(plan(folder), tmp_path / "features.parquet")
    audit = pd.read_csv(tmp_path / "features.audit.csv")
    assert list(audit["code"]) == ["image_truncated"]
    assert not (tmp_path / "features.parquet").exists()


def read_facts(path):
    """As any reader of Parquet finds them, and as pandas does."""
    reported = {
        name.decode(): fact.decode() for name, fact in pq.read_schema(path).metadata.items()
    }
    assert pd.read_parquet(path).attrs == json.loads(reported.pop("PANDAS_ATTRS"))
    assert pd.read_parquet(path).attrs == reported
    return reported


def test_the_table_says_what_made_it(folder, tmp_path):
    predictor = small.make_predictor()
    predictor.save(tmp_path / "encoder_of_today")
    model = str(tmp_path / "encoder_of_today")
    config = EmbeddingConfig(model=model, workers=1)
    embed(plan_folder(folder, "dicom_folder", config), tmp_path / "a.parquet")
    reported = read_facts(tmp_path / "a.parquet")
    assert "Research use only" in reported["notice"]
    assert reported["model"] == "encoder_of_today"
    assert reported["predictor_digest"] == predictor.digest()
    assert reported["training_data_digest"] == "0123"
    assert reported["miram_version"] == version("miram")

    crops = predictor.crops.model_copy(update={"context": 2.0})
    embed(plan(folder, dataclasses.replace(predictor, crops=crops)), tmp_path / "b.parquet")
    other = read_facts(tmp_path / "b.parquet")
    for name in ("predictor_digest", "crop_settings_digest"):
        assert other[name] != reported[name]


def test_a_folder_of_other_images_still_gets_its_audit(folder, tmp_path):
    small.make_predictor().save(tmp_path / "model")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path, force=True)
        dataset.Modality = "CT"
        dataset.save_as(path)
    (folder / "a.dcm").write_bytes(b"no DICOM")
    config = EmbeddingConfig(model=str(tmp_path / "model"), workers=1)
    words = rf"1 x not_dicom, such as a\.dcm.*{FILES + 1} x other_modality, such as 0\.dcm \(mod"
    with pytest.raises(MiramError, match=words):
        embed(plan_folder(folder, "dicom_folder", config), tmp_path / "features.parquet")
    audit = pd.read_csv(tmp_path / "features.audit.csv")
    assert set(audit["file"]) == {path.name for path in folder.iterdir()}


def test_a_folder_is_searched_for_what_the_model_reads(folder, tmp_path):
    wanted = WantedImages(modalities=("CR",))
    for name, modality in (("0", "CR"), ("2", "CT")):
        dataset = pydicom.dcmread(folder / f"{name}.dcm")
        dataset.Modality = modality
        dataset.save_as(folder / f"{name}.dcm")
    model = dataclasses.replace(small.make_predictor(), wanted=wanted)
    assert list(find_mammograms(folder, "dicom_folder", None, model).lesions["image_path"]) == [
        "0.dcm"
    ]
    asked = find_mammograms(folder, "dicom_folder", {"modalities": ["CT"]}, model)
    assert list(asked.lesions["image_path"]) == ["2.dcm"]


def test_a_table_that_is_not_named_parquet_is_refused_before_anything_is_done(
    folder, tmp_path, capsys
):
    assert call_miram("embed", folder, "--model", "any", "--out", tmp_path / "g.csv") == 1
    assert "name it g.parquet" in capsys.readouterr().err
    assert not list(tmp_path.glob("g*"))


def test_an_encoder_without_a_probe_gives_features_alone(folder, tmp_path):
    predictor = dataclasses.replace(small.make_predictor(), probe=None)
    embed(plan(folder, predictor), tmp_path / "features.parquet")
    table = pd.read_parquet(tmp_path / "features.parquet")
    assert not [name for name in table if name.startswith("p_")]
    assert len(table) == 7 and set(FEATURES) <= set(table)
