"""The crop store: whole or not there, checked, and found by name."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from miram.errors import CannotWrite, MiramError
from miram.files import file_sha256
from miram.mammography.audit import audit_rows
from miram.mammography.crops.store import CropStore, verify_store, write_store

PARTS = (2, 3)


def pieces():
    rng = np.random.default_rng(0)
    for count in PARTS:
        yield {
            "crops": rng.integers(0, 65_536, (count, 16, 16)).astype(np.uint16),
            "masks": rng.integers(0, 256, (count, 2, 2)).astype(np.uint8),
        }


def write(folder, **changes):
    manifest = pd.DataFrame(
        {
            "crop_id": [f"lesion {i}" for i in range(4)] + ["patch"],
            "kind": ["lesion"] * 4 + ["background"],
            "patient_id": ["P_1", "P_1", "P_2", "P_3", "P_3"],
            "scale": [0.1, 1 / 3, 1.0, 2.5, 1e-9],
        }
    )
    problem = {"lesion_id": "", "file": "a.dcm", "code": "empty", "action": "left out"}
    values = {
        "manifest": manifest,
        "audit": audit_rows([{**problem, "detail": "zero, bytes"}]),
        "parameters": {"side": 16},
        "tasks": {"image": "0123"},
    }
    return write_store(folder, pieces(), **{**values, **changes})


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "crops")
    return tmp_path / "crops"


def test_a_store_gives_back_what_was_written(folder):
    assert verify_store(folder) == []
    store = CropStore.open(folder)
    assert isinstance(store.crops, np.memmap)
    expected = {name: np.concatenate([p[name] for p in pieces()]) for name in ("crops", "masks")}
    assert (store.crops == expected["crops"]).all() and store.crops.dtype == np.uint16
    assert (store.masks == expected["masks"]).all() and store.masks.dtype == np.uint8
    assert store.manifest["scale"].tolist() == [0.1, 1 / 3, 1.0, 2.5, 1e-9]
    assert store.audit.to_dict("records")[0]["detail"] == "zero, bytes"
    assert store.audit["lesion_id"].tolist() == [""]
    assert (store.image_size, store.tasks, store.info["lesions"]) == (16, {"image": "0123"}, 4)
    assert store.info["patients"] == 3


def test_the_same_content_has_the_same_digest_and_other_content_another(folder, tmp_path):
    digest = CropStore.open(folder).digest
    assert write(tmp_path / "again") == digest
    assert write(tmp_path / "other", parameters={"side": 17}) != digest
    assert write(tmp_path / "tasks", tasks={}) == digest
    assert file_sha256(folder / "crops.npy") == file_sha256(tmp_path / "again" / "crops.npy")


def other_pixel(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def other_patient(path):
    pd.read_parquet(path).assign(patient_id="P_2").to_parquet(path, index=False)


def other_parameter(path):
    info = json.loads(path.read_text())
    path.write_text(json.dumps({**info, "parameters": {"side": 32}}))


def other_audit(path):
    path.write_text("lesion_id,file,code,action,detail\n")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("crops.npy", other_pixel, "crops.npy: sha256 is "),
        ("masks.npy", other_pixel, "masks.npy: sha256 is "),
        ("manifest.parquet", other_patient, "manifest: sha256 is "),
        ("digest.json", other_parameter, "digest is "),
        ("audit.csv", other_audit, "audit.csv: sha256 is "),
    ],
)
def test_every_change_is_found(folder, name, change, words):
    CropStore.open(folder)
    change(folder / name)
    assert verify_store(folder)[0].startswith(words)
    with pytest.raises(MiramError, match=rf"is damaged \({re.escape(words)}.*delete the folder"):
        CropStore.open(folder)


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shorter(path):
    pd.read_parquet(path).iloc[:-1].to_parquet(path, index=False)


def no_column(path):
    pd.read_parquet(path).drop(columns="kind").to_parquet(path, index=False)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("crops.npy", half),
        ("crops.npy", b""),
        ("masks.npy", b""),
        ("manifest.parquet", shorter),
        ("digest.json", b""),
        ("digest.json", b"{}"),
        ("digest.json", b"[]"),
        ("digest.json", b'{"crops": 5}'),
        ("digest.json", b'{"crops": 5, "parameters": {}, "sha256": [], "digest": "0"}'),
        ("manifest.parquet", b"xx"),
        ("manifest.parquet", no_column),
        ("manifest.parquet", None),
        ("audit.csv", b""),
        ("audit.csv", None),
        ("tasks.json", b"{"),
        ("tasks.json", b"[1]"),
        ("tasks.json", None),
    ],
)
def test_whatever_is_broken_verify_says_damaged_and_what_to_do(folder, name, content):
    if content is None:
        (folder / name).unlink()
    elif callable(content):
        content(folder / name)
    else:
        (folder / name).write_bytes(content)
    problems = verify_store(folder)
    assert len(problems) == 1
    assert "is damaged (" in problems[0] and "delete the folder and run" in problems[0]


def test_a_store_of_the_time_before_audits_were_hashed_is_sound(folder):
    info = json.loads((folder / "digest.json").read_text())
    assert info.pop("audit_sha256")
    (folder / "digest.json").write_text(json.dumps(info))
    assert verify_store(folder) == []


def test_a_half_written_store_is_not_opened(folder):
    (folder / "digest.json").unlink()
    with pytest.raises(MiramError, match="no finished crop store"):
        CropStore.open(folder)
    assert not CropStore.is_finished(folder)


def test_writing_that_fails_leaves_the_older_store_whole(folder):
    def broken():
        yield from pieces()
        raise RuntimeError("the disk is full")

    digest = CropStore.open(folder).digest
    store = CropStore.open(folder)
    with pytest.raises(RuntimeError, match="disk is full"):
        write_store(
            folder, broken(), manifest=store.manifest, audit=store.audit, parameters={}, tasks={}
        )
    assert CropStore.open(folder).digest == digest and verify_store(folder) == []


def test_on_a_full_disk_the_older_store_stays_and_one_sentence_is_said(small_disk):
    folder = small_disk / "crops"
    digest = write(folder)
    store = CropStore.open(folder)
    large = {
        "crops": np.zeros((5, 512, 512), np.uint16),
        "masks": np.zeros((5, 64, 64), np.uint8),
    }
    with pytest.raises(CannotWrite, match=rf"cannot write {folder}: No space left on device; make"):
        write_store(
            folder, [large], manifest=store.manifest, audit=store.audit, parameters={}, tasks={}
        )
    assert CropStore.open(folder).digest == digest and verify_store(folder) == []
    assert [path.name for path in small_disk.iterdir()] == ["crops"]


def test_a_new_store_replaces_the_older_one_and_leaves_nothing_behind(folder):
    digest = CropStore.open(folder).digest
    assert write(folder, parameters={"side": 17}) != digest
    assert verify_store(folder) == []
    assert [path.name for path in folder.parent.iterdir()] == ["crops"]


def test_crops_are_found_by_name(folder):
    store = CropStore.open(folder)
    assert store.rows(["patch", "lesion 2"]).tolist() == [4, 2]
    with pytest.raises(MiramError, match="crop nobody is not in the store"):
        store.rows(["lesion 1", "nobody"])
