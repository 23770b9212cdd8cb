"""Unpacking the zip of a series: safely, and checked against the archive's own hashes."""

import csv
import hashlib
import io
import logging
import os
import shutil
import struct
import zipfile
import zlib
from itertools import count
from pathlib import Path

from miram.errors import MiramError
from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.headers import read_header

log = logging.getLogger(__name__)

HASHES = "md5hashes.csv"
_ASIDE = ".replaced"
_CHUNK = 2**20
_MARGIN = 2**24
# What zipfile raises on damaged, cut-off or encrypted archives.
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)
_LONGEST_TABLE = 2**24  # bytes; a series of 10,000 files takes less than 1 MB


class ArchiveError(MiramError):
    """A zip that is not what the server announced."""


def unpack_series(
    archive: Path, folder: Path, images: int | None, announced: int | None = None
) -> dict[str, int]:
    """Unpack a zip of `getImageWithMD5Hash` into an empty folder and check all that it holds.

    `images` is their number, and `announced` their size in bytes; None where the server does not
    say it.

    Returns:
        Size in bytes of every file, by name.

    Raises:
        ArchiveError: The zip unpacks to more than was announced and a margin, is broken off, a file
            is missing, superfluous, differs from its hash, or has a name that leads out of the
            folder. The folder then holds nothing that counts.
    """
    try:
        with zipfile.ZipFile(archive) as package:
            names = [_plain_name(member) for member in package.infolist()]
            if len(set(names)) != len(names):
                raise ArchiveError("the zip holds a file twice")
            left = float("inf") if announced is None else most_bytes(announced)
            found: dict[str, tuple[int, str]] = {}
            for name in names:
                found[name] = _unpack(package, name, folder, left)
                left -= found[name][0]
    except _BROKEN as error:
        raise ArchiveError(f"the zip is broken: {error}") from error
    if HASHES not in found:
        raise ArchiveError(f"the zip has no {HASHES}: it broke off on the server")
    hashes = {name: md5 for name, (_, md5) in found.items()}
    _compare(read_hashes(folder / HASHES), hashes, images)
    return {name: size for name, (size, _) in found.items()}


def most_bytes(announced: int) -> int:
    """Bytes that a series of an announced size may have: a tenth more, and hashes and license."""
    return announced + announced // 10 + _MARGIN


def read_hashes(path: Path) -> dict[str, str]:
    """Read `md5hashes.csv`: 32 small hexadecimal digits by file name."""
    if path.stat().st_size > _LONGEST_TABLE:
        raise ArchiveError(f"{HASHES} is too long to be a list of hashes")
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    rows = list(csv.DictReader(io.StringIO(text), skipinitialspace=True))
    if not rows or not {"Filename", "MD5Hash"} <= set(rows[0]):
        raise ArchiveError(f"{HASHES} has no columns Filename and MD5Hash")
    # Hashes that were printed as numbers have lost their leading zeros.
    return {
        (row["Filename"] or "").strip(): (row["MD5Hash"] or "").strip().lower().zfill(32)
        for row in rows
    }


def _file_md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _md5).hexdigest()


def matches_hashes(folder: Path, images: int | None) -> dict[str, int] | None:
    """Sizes of the files of an unpacked series; None where it is no finished one of `images`."""
    try:
        expected = read_hashes(folder / HASHES)
        files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
        _compare(expected, {name: _file_md5(path) for name, path in files.items()}, images)
    except (OSError, ArchiveError):
        return None
    return {name: path.stat().st_size for name, path in files.items()}


def _compare(expected: dict[str, str], found: dict[str, str], images: int | None) -> None:
    """Compare the hashes of the files found, and the number of images, with those announced."""
    for name, md5 in expected.items():
        if name not in found:
            raise ArchiveError(f"{name} is missing")
        if found[name] != md5:
            raise ArchiveError(f"{name} has md5 {found[name]}, {HASHES} says {md5}")
    dicoms = [name for name in found if name.lower().endswith(".dcm")]
    for name in dicoms:
        if name not in expected:
            raise ArchiveError(f"{name} is not in {HASHES}")
    if not dicoms or (images is not None and len(dicoms) != images):
        raise ArchiveError(f"{len(dicoms)} images in the zip, {images} announced")


def _plain_name(member: zipfile.ZipInfo) -> str:
    """Give the name of a member; the server packs files side by side, without folders."""
    name = member.filename
    unsafe = not name or name.startswith(".") or any(sign in name for sign in "/\\:\0")
    if unsafe or member.is_dir() or (member.external_attr >> 16) & 0o170000 == 0o120000:
        raise ArchiveError(f"unsafe name in the zip: {name!r}")
    return name


def _unpack(package: zipfile.ZipFile, name: str, folder: Path, most: float) -> tuple[int, str]:
    digest, size = _md5(), 0
    with package.open(name) as source, (folder / name).open("xb") as target:
        while piece := source.read(_CHUNK):
            digest.update(piece)
            size += len(piece)
            if size > most:
                raise ArchiveError(f"the zip unpacks to more bytes than announced, at {name}")
            target.write(piece)
        target.flush()
        os.fsync(target.fileno())
    return size, digest.hexdigest()


def _md5() -> "hashlib._Hash":
    # MD5 finds transfer errors here and keeps no secret; FIPS builds require the flag.
    return hashlib.md5(usedforsecurity=False)


def put_in_place(fetched: Path, final: Path) -> None:
    """Rename the folder of a fetched series to its final name.

    An older folder of that name is an unfinished or unchecked download of the series. Its files
    that the fetched series has as well are dropped: those of the same name, and DICOM files of
    the same SOPInstanceUID. All others, such as notes, go to `<final>.replaced` beside it.
    """
    if final.exists():
        moved = _set_aside(fetched, final)
        shutil.rmtree(final)
        if moved:
            log.warning("%d files of %s that are not of its series are in %s", *moved)
    fetched.rename(final)


def _set_aside(fetched: Path, final: Path) -> tuple[int, Path, Path] | None:
    names = {path.name for path in fetched.iterdir()}
    instances = {_instance(path) for path in fetched.iterdir()} - {""}
    others = [
        path
        for path in sorted(final.iterdir())
        if path.is_dir() or (path.name not in names and _instance(path) not in instances)
    ]
    aside = final.with_name(final.name + _ASIDE)
    for path in others:
        aside.mkdir(exist_ok=True)
        path.rename(_free_name(aside / path.name))
    return (len(others), final, aside) if others else None


def _instance(path: Path) -> str:
    """Give the SOPInstanceUID of a file, empty for what is no DICOM file."""
    try:
        return read_header(path).sop_instance_uid
    except (DecodingError, OSError):
        return ""


def _free_name(path: Path) -> Path:
    """Give the path itself, or the first numbered one where it is taken."""
    names = (path.with_name(f"{path.stem} ({number}){path.suffix}") for number in count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())
