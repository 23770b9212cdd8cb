"""What a download shall fetch, and whether the disk can hold it."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from miram.configuration import Config
from miram.errors import MiramError
from miram.mammography.decoding.headers import is_uid
from miram.mammography.download.nbia import PUBLIC_URL, Series
from miram.mammography.sources.cbis_ddsm.case_tables import (
    parse_cbis_path,
    read_case_descriptions,
)

Subset = Literal["mass", "calc"]
_TYPES = {"mass": "mass", "calc": "calcification"}
_MARKER = "ListOfSeriesToDownload="
_SPARE = 2**28  # bytes to leave free on the disk


class DownloadConfig(Config):
    """What to download and how."""

    to: Path = Field(description="folder for the series; made where missing")
    manifest: Path | None = Field(None, description=".tcia file; None for the whole collection")
    collection: str = Field("CBIS-DDSM", min_length=1, description="its name at TCIA")
    subset: Subset | None = Field(None, description="only series of masses or calcifications")
    tables: Path | None = Field(
        None, description="folder of the case-description CSVs; they name the series of a subset"
    )
    limit: int | None = Field(None, ge=1, description="only the first series of the list")
    workers: int = Field(4, ge=1, le=16, description="transfers at a time")
    retries: int = Field(5, ge=0, le=20, description="further tries of a request that failed")
    backoff: float = Field(2.0, ge=0, description="seconds before the second try; doubled then")
    timeout: float = Field(120.0, gt=0, description="longest silence of the server, seconds")
    recheck: bool = Field(False, description="read finished files again, compare their hashes")
    base_url: str = Field(PUBLIC_URL, min_length=1, description="address of the NBIA interface")


def read_manifest(path: Path) -> tuple[str, ...]:
    """Read the series UIDs of a `.tcia` manifest, in its order, each once.

    The file holds `key=value` lines in no fixed number, then the marker
    `ListOfSeriesToDownload=`, then a UID per line.

    Raises:
        MiramError: There is no such file, it has no marker or no UID, or a line is no UID.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MiramError(f"{path} cannot be read as a TCIA manifest: {error}") from error
    marks = [number for number, line in enumerate(lines) if line.strip() == _MARKER]
    if not marks:
        raise MiramError(
            f"{path} has no line {_MARKER}: it is no TCIA manifest; "
            "download the .tcia file from the page of the collection"
        )
    uids = []
    for number, line in enumerate(lines[marks[0] + 1 :], start=marks[0] + 2):
        uid = line.strip()
        if uid and not is_uid(uid):
            raise MiramError(f"{path}, line {number}: {uid!r} is no series UID")
        if uid:
            uids.append(uid)
    if not uids:
        raise MiramError(f"{path} lists no series after {_MARKER}")
    return tuple(dict.fromkeys(uids))


def choose_series(
    config: DownloadConfig, manifest: tuple[str, ...] | None, listed: dict[str, Series]
) -> list[str]:
    """Choose the UIDs to download among those of a manifest, or of all that the server lists.

    They come in the order of the manifest; without one in that of the case descriptions where
    these are given, so that `limit` gives whole lesions; else as the server lists them.

    Raises:
        MiramError: Nothing is left, or the server lists nothing.
    """
    if not listed:
        raise MiramError(
            f"{config.base_url} lists no series of the collection {config.collection!r}: "
            "is the name written as at TCIA?"
        )
    described = _described(config)
    chosen = manifest or described or tuple(listed)
    if config.subset and described is not None:
        kept = set(described)
        chosen = tuple(uid for uid in chosen if uid in kept)
    elif config.subset:
        # In CBIS-DDSM the PatientID is the folder name, which begins with Mass or Calc.
        start = f"{config.subset}-"
        kept = {uid for uid, one in listed.items() if one.patient_id.lower().startswith(start)}
        chosen = tuple(uid for uid in chosen if uid in kept)
    if not chosen:
        raise MiramError(
            f"no series of the subset {config.subset!r} in the list: give the folder of the "
            "case-description CSVs that fit the manifest (tables)"
        )
    return list(chosen[: config.limit])


def check_space(folder: Path, missing: Iterable[Series], workers: int) -> None:
    """Refuse a download that the disk cannot hold; each of `workers` unpacks beside its zip."""
    sizes = sorted((one.size or 0 for one in missing), reverse=True)
    needed = sum(sizes) + sum(sizes[:workers]) + (_SPARE if sizes else 0)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MiramError(
            f"the download needs {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are "
            "free: give a larger disk, or a part of the collection (subset, limit)"
        )


def _described(config: DownloadConfig) -> tuple[str, ...] | None:
    if config.tables is None:
        return None
    lesions = read_case_descriptions(config.tables)
    if config.subset:
        lesions = lesions[lesions["abnormality_type"] == _TYPES[config.subset]]
    cells = lesions[["image_cell", "crop_cell", "mask_cell"]].to_numpy().ravel()
    return tuple(dict.fromkeys(parse_cbis_path(cell).series_uid for cell in cells))
