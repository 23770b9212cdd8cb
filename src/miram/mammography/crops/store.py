"""The crop store: one memory-mapped array, a manifest, and a digest of what it was built from.

A store is a folder:

    crops.npy         (n, H, H) uint16
    masks.npy         (n, H / 8, H / 8) uint8 lesion coverage, 255 for all of a cell
    manifest.parquet  one row per crop, in the order of the arrays
    audit.csv         what could not be cut, and why
    tasks.json        state of the source files, by which a later build knows what is new
    digest.json       parameters, counts, sha256 of the data and of the audit; written last

The same input and parameters give the same bytes, whatever the number of workers.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from miram.errors import MiramError, writing
from miram.files import file_sha256, state_of

ARRAYS = ("crops", "masks")
# Parameters under another name in a store: its digest is computed from these names.
STORED_NAMES = {"side": "image_size", "background_side": "background_size"}
DIGEST = "digest.json"
_TASKS = "tasks.json"
_AUDIT = "audit.csv"
_AUDIT_HASH = "audit_sha256"  # beside the digest: stores written before it was kept stay valid
# What numpy, pandas and json raise on files that are cut off or something else.
_BROKEN = (OSError, ValueError, KeyError, TypeError, EOFError, IndexError, AttributeError)


@dataclass(frozen=True)
class CropStore:
    """A finished store, opened for reading: one manifest row per crop, and what could not be cut.

    `info` is the content of `digest.json`.
    """

    folder: Path
    manifest: pd.DataFrame
    audit: pd.DataFrame
    info: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> "CropStore":
        """Open a store; a process hashes it once, and again where a file has changed.

        Raises:
            MiramError: There is no finished store, or it is not what was written.
        """
        store = cls.read(Path(folder))
        states = tuple((path.name, *state_of(path)) for path in sorted(store.folder.iterdir()))
        if problems := _problems_once(store.folder.absolute(), states):
            raise _damaged(store.folder, "; ".join(problems))
        return store

    @classmethod
    def read(cls, folder: Path) -> "CropStore":
        """Open a store that has been checked, without reading its pixels.

        Raises:
            MiramError: There is no finished store, or its parts do not fit together.
        """
        if not cls.is_finished(folder):
            raise MiramError(
                f"no finished crop store at {folder}: make it with `kedro run --pipeline rois`"
            )
        try:
            info = json.loads((folder / DIGEST).read_text())
            manifest = pd.read_parquet(folder / "manifest.parquet")
            audit = pd.read_csv(folder / _AUDIT, dtype="string").fillna("")
            store = cls(folder, manifest, audit, info)
            if [len(manifest), len(store.crops), len(store.masks)] != [info["crops"]] * 3:
                raise ValueError("its arrays and its manifest differ in length")
        except _BROKEN as error:
            raise _damaged(folder, _reason(error)) from error
        return store

    @staticmethod
    def is_finished(folder: str | Path) -> bool:
        """Whether a whole store stands there: its digest is written last."""
        return (Path(folder) / DIGEST).is_file()

    def __reduce__(self) -> tuple[Callable[[Path], "CropStore"], tuple[Path]]:
        """Travel to another process as a path, without the pixels."""
        return CropStore.read, (self.folder,)

    @cached_property
    def crops(self) -> NDArray[np.uint16]:
        """(n, H, H) uint16, mapped from the file."""
        return np.load(self.folder / "crops.npy", mmap_mode="r")

    @cached_property
    def masks(self) -> NDArray[np.uint8]:
        """(n, H / 8, H / 8) uint8, mapped from the file."""
        return np.load(self.folder / "masks.npy", mmap_mode="r")

    @cached_property
    def tasks(self) -> dict[str, str]:
        """Fingerprint of each mammogram's files and parameters, by image name.

        Raises:
            MiramError: They cannot be read, so that it is unknown what the crops were cut from.
        """
        try:
            tasks = json.loads((self.folder / _TASKS).read_text())
            return {str(name): str(fingerprint) for name, fingerprint in tasks.items()}
        except _BROKEN as error:
            raise _damaged(self.folder, f"{_TASKS}: {_reason(error)}") from error

    @property
    def image_size(self) -> int:
        """Height and width of a crop in pixels."""
        return int(self.crops.shape[1])

    @property
    def parameters(self) -> dict[str, Any]:
        """What the store was built with, by the names that the parameters have now."""
        stored = self.info["parameters"]
        return {STORED_NAMES.get(name, name): value for name, value in stored.items()}

    @property
    def digest(self) -> str:
        """Name of this version of the data: a hash of its bytes and its parameters."""
        return str(self.info["digest"])

    def rows(self, crop_ids: pd.Series | list[str]) -> NDArray[np.int64]:
        """Positions of crops in the arrays, by their names.

        Raises:
            MiramError: A crop is not in the store.
        """
        positions = pd.Index(self.manifest["crop_id"]).get_indexer(pd.Index(crop_ids))
        if (positions < 0).any():
            missing = list(pd.Index(crop_ids)[positions < 0])
            raise MiramError(
                f"crop {missing[0]} is not in the store at {self.folder}: "
                "the lesion table is newer than the crops; run `kedro run --pipeline rois`"
            )
        return positions


def _damaged(folder: Path, reason: str) -> MiramError:
    return MiramError(
        f"the crop store at {folder} is damaged ({reason}): delete the folder and run "
        "`kedro run --pipeline rois` again"
    )


def _reason(error: Exception) -> str:
    known = isinstance(error, (OSError, ValueError))
    return str(error) if known else f"{type(error).__name__}: {error}"


def write_store(
    folder: Path,
    pieces: Iterable[dict[str, NDArray]],
    *,
    manifest: pd.DataFrame,
    audit: pd.DataFrame,
    parameters: dict[str, Any],
    tasks: dict[str, str],
) -> str:
    """Write a store whole, or not at all, and give its digest.

    Args:
        folder: Where the store shall stand; an older store there is replaced at the end.
        pieces: Parts of the arrays by name in the order of the manifest; one is held in memory.
        manifest: One row per crop.
        audit: Audit rows.
        parameters: What the store was built with.
        tasks: Fingerprint of each mammogram's files and parameters; not part of the digest.
    """
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        with writing(folder):
            building.mkdir(parents=True)
            _write_arrays(building, pieces, len(manifest))
            manifest.to_parquet(building / "manifest.parquet", index=False)
            audit.to_csv(building / _AUDIT, index=False)
            (building / _TASKS).write_text(json.dumps(tasks, indent=0, sort_keys=True) + "\n")
            info = _describe(building, manifest, parameters)
            info[_AUDIT_HASH] = file_sha256(building / _AUDIT)
            (building / DIGEST).write_text(json.dumps(info, indent=2, sort_keys=True) + "\n")
            for path in building.iterdir():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
            _replace(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return str(info["digest"])


def _write_arrays(folder: Path, pieces: Iterable[dict[str, NDArray]], length: int) -> None:
    # Written and not mapped: where the disk is full, a mapped page ends the process (SIGBUS).
    for piece in pieces:
        for name, part in piece.items():
            with (folder / f"{name}.npy").open("ab") as file:
                if not file.tell():
                    header = np.lib.format.header_data_from_array_1_0(part)
                    header["shape"] = (length, *part.shape[1:])
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(part.tobytes())


def _describe(folder: Path, manifest: pd.DataFrame, parameters: dict[str, Any]) -> dict[str, Any]:
    hashes = {f"{name}.npy": file_sha256(folder / f"{name}.npy") for name in ARRAYS}
    text = manifest.to_json(orient="records")
    content: dict[str, Any] = {
        "parameters": parameters,
        "crops": len(manifest),
        "lesions": int((manifest["kind"] == "lesion").sum()),
        "patients": int(manifest["patient_id"].nunique()),
        "sha256": {**hashes, "manifest": hashlib.sha256(text.encode()).hexdigest()},
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {"digest": digest[:16], **content}


def verify_store(folder: Path) -> list[str]:
    """Recompute every hash of a store: what differs, one line each; empty for a sound store."""
    try:
        return _problems(folder)
    except MiramError as error:
        return [str(error)]


def _problems(folder: Path) -> list[str]:
    store = CropStore.read(folder)
    try:
        found = _describe(folder, store.manifest, store.info["parameters"])
        expected = {str(name): str(value) for name, value in store.info["sha256"].items()}
        digest = store.digest
        _ = store.tasks
    except _BROKEN as error:
        raise _damaged(folder, _reason(error)) from error
    hashes = {**found["sha256"], _AUDIT: file_sha256(folder / _AUDIT)}
    if _AUDIT_HASH in store.info:
        expected[_AUDIT] = str(store.info[_AUDIT_HASH])
    problems = [
        f"{name}: sha256 is {hashes.get(name)}, the digest says {value}"
        for name, value in expected.items()
        if hashes.get(name) != value
    ]
    if found["digest"] != digest:
        problems.append(f"digest is {found['digest']}, the store says {digest}")
    return problems


@cache
def _problems_once(folder: Path, states: tuple[Any, ...]) -> list[str]:
    return _problems(folder)


def _replace(finished: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    finished.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
