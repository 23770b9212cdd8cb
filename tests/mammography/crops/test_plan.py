"""Building a store: the same bytes always, and no mammogram decoded twice."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from miram.errors import MiramError
from miram.files import file_sha256
from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import build_crop_store, plan_crops, stale_because
from miram.mammography.crops.store import CropStore, verify_store
from miram.mammography.sources.cbis_ddsm.source import CbisDdsmSource

CONFIG = CropConfig(image_size=32, context=1.25, backgrounds_per_image=1)


@pytest.fixture(scope="module")
def lesions(tiny_phantom):
    """The lesions of half of the patients."""
    found = CbisDdsmSource().ingest(tiny_phantom).lesions
    patients = sorted(found["patient_id"].unique())[::2]
    return found[found["patient_id"].isin(patients)].reset_index(drop=True)


@pytest.fixture(scope="module")
def built(lesions, tiny_phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "crops"
    return build_crop_store(plan_crops(lesions, tiny_phantom, CONFIG), folder)


def build(lesions, raw_root, folder, config=CONFIG, workers=1, caplog=None):
    """Build and give the store and how many mammograms were cut for it."""
    with caplog.at_level(logging.INFO, logger="miram"):
        caplog.clear()
        store = build_crop_store(plan_crops(lesions, raw_root, config, workers), folder)
    line = next(m for m in caplog.messages if m.endswith("mammograms to cut"))
    return store, int(line.split()[0])


def files_of(store):
    return {name: file_sha256(store.folder / name) for name in ("crops.npy", "masks.npy")} | {
        "manifest": store.manifest.to_json()
    }


def test_every_lesion_has_one_crop_and_every_mammogram_one_task(lesions, tiny_phantom, built):
    plan = plan_crops(lesions, tiny_phantom, CONFIG)
    assert [task.image_id for task in plan.tasks] == sorted(lesions["image_id"].unique())
    cut = built.manifest.query("kind == 'lesion'")
    assert sorted(cut["crop_id"]) == sorted(lesions["lesion_id"])
    assert verify_store(built.folder) == []
    merged = cut.merge(lesions, left_on="crop_id", right_on="lesion_id")
    for name in ("patient_id", "image_id", "official_split", "source_bits"):
        assert (merged[f"{name}_x"] == merged[f"{name}_y"]).all()


@pytest.mark.parametrize(
    "change", [pytest.param("workers", marks=pytest.mark.slow), "order", "place"]
)
def test_neither_workers_nor_order_nor_place_of_the_data_change_a_byte(
    lesions, tiny_phantom, built, tmp_path, change
):
    root = tmp_path / "copy" if change == "place" else tiny_phantom
    if change == "place":
        shutil.copytree(tiny_phantom, root)
    rows = lesions.sample(frac=1, random_state=1) if change == "order" else lesions
    plan = plan_crops(rows, root, CONFIG, workers=2 if change == "workers" else 1)
    store = build_crop_store(plan, tmp_path / "crops")
    assert store.digest == built.digest and files_of(store) == files_of(built)


def test_building_again_cuts_nothing(lesions, tiny_phantom, built, tmp_path, caplog):
    shutil.copytree(built.folder, tmp_path / "crops")
    store, cut = build(lesions, tiny_phantom, tmp_path / "crops", caplog=caplog)
    assert cut == 0 and files_of(store) == files_of(built)
    assert store.audit.equals(built.audit) and len(store.audit)


def without_some_patients(lesions):
    """The lesions of most patients and of the others; tissue patches avoid lesions of a breast."""
    patients = sorted(lesions["patient_id"].unique())
    gone = lesions["patient_id"].isin(patients[::5])
    return lesions[~gone], lesions[gone]


def test_new_images_alone_are_cut(lesions, tiny_phantom, built, tmp_path, caplog):
    fewer, gone = without_some_patients(lesions)
    build(fewer, tiny_phantom, tmp_path / "crops", caplog=caplog)
    store, cut = build(lesions, tiny_phantom, tmp_path / "crops", caplog=caplog)
    assert cut == gone["image_id"].nunique() > 1
    assert store.digest == built.digest and files_of(store) == files_of(built)
    assert store.audit.equals(built.audit)


def test_images_that_are_gone_leave_the_store(lesions, tiny_phantom, built, tmp_path, caplog):
    shutil.copytree(built.folder, tmp_path / "crops")
    fewer, _ = without_some_patients(lesions)
    store, cut = build(fewer, tiny_phantom, tmp_path / "crops", caplog=caplog)
    assert cut == 0 and set(store.manifest["image_id"]) == set(fewer["image_id"])
    assert verify_store(store.folder) == []


def test_a_changed_file_is_cut_again(lesions, tiny_phantom, built, tmp_path, caplog):
    raw_root = tmp_path / "raw"
    shutil.copytree(tiny_phantom, raw_root)  # keeps the times of change
    shutil.copytree(built.folder, tmp_path / "crops")
    os.utime(raw_root / lesions["mask_paths"].iloc[0][0], (1, 1))
    store, cut = build(lesions, raw_root, tmp_path / "crops", caplog=caplog)
    assert cut == 1 and store.digest == built.digest


def test_a_changed_parameter_cuts_all_again_and_is_named(
    lesions, tiny_phantom, built, tmp_path, caplog
):
    shutil.copytree(built.folder, tmp_path / "crops")
    changed = CropConfig(
        image_size=32, context=1.5, backgrounds_per_image=1, normalization={"method": "bits"}
    )
    expected = ["context: 1.25 -> 1.5", "normalization.method: percentile -> bits"]
    assert stale_because(built, changed) == expected
    store, cut = build(lesions, tiny_phantom, tmp_path / "crops", changed, caplog=caplog)
    assert cut == lesions["image_id"].nunique()
    warning = next(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert "is stale, all is cut again: " + "; ".join(expected) in warning
    assert stale_because(store, changed) == [] and store.digest != built.digest


def test_a_store_of_an_older_version_names_what_is_new(built):
    old = {name: v for name, v in built.info["parameters"].items() if name != "background_side"}
    older = CropStore(built.folder, built.manifest, built.audit, {"parameters": old | {"gone": 1}})
    assert stale_because(older, CONFIG) == [
        "gone: 1 -> not there",
        "background_size: not there -> 0.06",
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tasks.json", b"{", "the crop store"),
        ("digest.json", b"[]", "the crop store"),
        ("crops.npy", b"", "the crop store"),
        ("crops.npy", None, "the crop store"),
    ],
)
def test_a_store_with_a_broken_file_is_built_again_and_the_file_named(
    lesions, tiny_phantom, tmp_path, caplog, name, content, words
):
    some = lesions[lesions["image_id"] == lesions["image_id"].iloc[0]]
    first, _ = build(some, tiny_phantom, tmp_path / "crops", caplog=caplog)
    digest, path = first.digest, tmp_path / "crops" / name
    path.write_bytes(path.read_bytes()[:-3] + b"\1\2\3" if content is None else content)
    store, cut = build(some, tiny_phantom, tmp_path / "crops", caplog=caplog)
    assert cut == 1 and store.digest == digest
    assert f"all is cut again: {words}" in caplog.text
    assert verify_store(store.folder) == []


INTERRUPTED = """
import sys
from pathlib import Path
import pandas as pd
from miram.mammography.crops.plan import build_crop_store, plan_crops
from miram.mammography.crops.cut import CropConfig

table, raw_root, folder, config = sys.argv[1:]
config = CropConfig.model_validate_json(config)
build_crop_store(plan_crops(pd.read_parquet(table), Path(raw_root), config), Path(folder))
"""


@pytest.mark.slow
def test_an_interrupted_build_resumes_where_it_stopped(
    lesions, tiny_phantom, built, tmp_path, caplog
):
    lesions.to_parquet(tmp_path / "lesions.parquet")
    arguments = [tmp_path / "lesions.parquet", tiny_phantom, tmp_path / "crops"]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *map(str, arguments), CONFIG.model_dump_json()]
    )
    parts = tmp_path / ".crops.parts"
    while len(list(parts.glob("[!.]*.npz"))) < 3 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not CropStore.is_finished(tmp_path / "crops")
    done = len(list(parts.glob("[!.]*.npz")))
    store, cut = build(lesions, tiny_phantom, tmp_path / "crops", caplog=caplog)
    assert cut == lesions["image_id"].nunique() - done
    assert store.digest == built.digest and files_of(store) == files_of(built)
    assert not parts.exists()


def test_a_lesion_that_cannot_be_cut_is_in_the_audit_and_the_others_in_the_store(
    lesions, tiny_phantom, built, tmp_path, caplog
):
    raw_root = tmp_path / "raw"
    shutil.copytree(tiny_phantom, raw_root)
    broken = lesions.iloc[0]
    (raw_root / broken["image_path"]).write_bytes(b"not a film at all" * 50)
    hit = set(lesions.loc[lesions["image_path"] == broken["image_path"], "lesion_id"])
    for _ in range(2):  # the second time from the older store
        store, cut = build(lesions, raw_root, tmp_path / "crops", caplog=caplog)
        left_out = store.audit[store.audit["action"] == "left out"]
        assert set(left_out["lesion_id"]) == hit and len(left_out) == len(hit)
        cut_ids = set(store.manifest.query("kind == 'lesion'")["crop_id"])
        assert cut_ids == set(lesions["lesion_id"]) - hit
    assert cut == 0


def test_nothing_to_cut_is_an_error_that_says_why(lesions, tmp_path):
    with pytest.raises(MiramError, match=r"not one crop .* \(image_not_found\)"):
        build_crop_store(plan_crops(lesions, tmp_path / "nowhere", CONFIG), tmp_path / "crops")
    assert not (tmp_path / "crops").exists()


def own_images(folder) -> pd.DataFrame:
    """A table of two images: one with a box, one in which nothing is marked."""
    pixels = np.zeros((300, 200), dtype=np.uint16)
    pixels[50:250, :150] = np.random.default_rng(0).integers(20_000, 60_000, (200, 150))
    for name in "ab":
        Image.fromarray(pixels).save(folder / f"{name}.png")
    box = {"box_x0": 40, "box_y0": 100, "box_x1": 80, "box_y1": 130}
    rows = [
        {"lesion_id": f"{n}1", "image_id": n, "image_path": f"{n}.png", "patient_id": f"P{n}"}
        for n in "ab"
    ]
    table = pd.DataFrame([rows[0] | box, rows[1]]).astype(dict.fromkeys(box, "Int64"))
    return table.assign(mask_paths=[[], []])


def test_boxes_are_cut_and_unmarked_images_give_backgrounds(tmp_path):
    table = own_images(tmp_path)
    store = build_crop_store(plan_crops(table, tmp_path, CONFIG), tmp_path / "crops")
    kinds = store.manifest.groupby("image_id")["kind"].agg(sorted).to_dict()
    assert kinds == {"a": ["background", "lesion"], "b": ["background"]}
    box = store.manifest.query("kind == 'lesion'").iloc[0]
    assert [box[f"box_{name}"] for name in ("x0", "y0", "x1", "y1")] == [40, 100, 80, 130]
    unmarked = build_crop_store(plan_crops(table.iloc[1:], tmp_path, CONFIG), tmp_path / "other")
    assert unmarked.manifest["kind"].tolist() == ["background"] and unmarked.info["lesions"] == 0


def test_the_audit_of_a_lesion_named_like_a_formula_outlives_a_second_build(tmp_path):
    table = own_images(tmp_path).iloc[:1].assign(lesion_id="=a1")
    plan = plan_crops(table, tmp_path, CONFIG.model_copy(update={"image_size": 64}))
    first = build_crop_store(plan, tmp_path / "crops").audit
    assert first["lesion_id"].tolist() == ["'=a1"]
    second = build_crop_store(plan, tmp_path / "crops").audit
    pd.testing.assert_frame_equal(second, first)


@pytest.mark.slow
def test_real_lesions_are_cut_where_they_are(shared_data, tmp_path):
    root = shared_data / "cbis_ddsm"
    table = CbisDdsmSource().ingest(root).lesions
    config = CropConfig(image_size=64, context=1.25)
    store = build_crop_store(plan_crops(table, root, config), tmp_path / "crops")
    known = pd.read_csv(root / "lesions" / "manifest.csv").query("in_kaggle_layout_subset")
    merged = store.manifest.merge(known, left_on="crop_id", right_on="lesion_id")
    assert len(merged) == len(known) == len(store.manifest) == 60
    for side in ("x0", "y0", "x1", "y1"):
        assert (merged[f"box_{side}"] == merged[side]).all()
    assert (merged["source_bits"] == 8).all()
    assert max((crop == 65_535).mean() for crop in store.crops) < 0.1
