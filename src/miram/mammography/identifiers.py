"""Names that must not leave the raw data, and the search for them in every byte of a folder."""

import gzip
import html
import io
import json
import re
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom

from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.expendable import expendable
from miram.mammography.lesion_table import COLUMNS
from miram.mammography.sources.files import files_under

LOCAL_FOLDERS = ("01_raw", "02_intermediate")  # of a study; names may stand there
SHORTEST = 5  # characters; shorter ones stand in any file by chance
_PSEUDONYM = re.compile(r"(patient|lesion|image|file)-[0-9a-f]{16}")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
_DIGIT = re.compile(rb"\d")
_PATIENT = 0x0010  # group of the patient's tags
_CHUNK = 2**24  # bytes searched at once


@dataclass(frozen=True)
class Found:
    """An identifier in a file, with the number of its occurrences."""

    file: str
    identifier: str
    times: int


def studies(folder: Path) -> set[Path]:
    """The folder itself, and every study below it that has a lesion table."""
    tables = folder.rglob(f"{LOCAL_FOLDERS[-1]}/lesions.parquet")
    return {folder, *(table.parents[1] for table in tables)}


def identifiers_of_tables(folder: Path) -> set[str]:
    """Own names in the tables that ingestion wrote into a folder; pseudonyms are none."""
    names: set[str] = set()
    if (path := folder / "identities.parquet").is_file():
        names |= set(pd.read_parquet(path)["name"])
    if (path := folder / "lesions.parquet").is_file():
        lesions = pd.read_parquet(path)
        for column in (column.name for column in COLUMNS if column.names):
            names |= set(lesions[column].explode().dropna())
    if (path := folder / "ingest_audit.csv").is_file():
        audit = pd.read_csv(path, dtype=str, keep_default_na=False)
        names |= {*audit["lesion_id"], *audit["file"]}
    parts = {part for name in names for path in [Path(name)] for part in (*path.parts, path.stem)}
    return {name for name in names | parts if not _PSEUDONYM.fullmatch(name)}


def identifiers_of_files(raw_root: Path) -> set[str]:
    """Names of files and folders of raw data, and names, dates and numbers of DICOM headers."""
    names = {raw_root.resolve().name}
    for path in files_under(raw_root):
        names |= {*path.relative_to(raw_root).parts, path.stem}
        try:
            names |= _of_header(path)
        except DecodingError:  # no DICOM file
            continue
    return names


@expendable
def _of_header(path: str | Path) -> set[str]:
    """Names, dates, what else is said of the patient, and the numbers of the examination."""
    names: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        for element in dataset.iterall():
            text = str(element.value)
            if element.VR == "PN":
                names |= {text, *re.split(r"[\^=\s\\]+", text)}
            elif element.VR in ("DA", "DT") and re.fullmatch(r"\d{8}", text[:8]):
                names |= {text[:8], f"{text[:4]}-{text[4:6]}-{text[6:8]}"}
            elif element.tag.group == _PATIENT or element.keyword in ("AccessionNumber", *_UIDS):
                names.add(text)
    return names


def searchable(names: Iterable[str]) -> set[str]:
    """Those that can be searched for: not short, and no word of this software itself."""
    code = Path(__file__).parents[1]
    own = "".join(path.read_text(encoding="utf-8") for path in code.rglob("*.py"))
    return {name for name in names if len(name) >= SHORTEST and name not in own}


def search(folder: Path, names: Iterable[str]) -> Iterator[tuple[Path, list[Found]]]:
    """Search every file below a folder for names; the local folders of studies are left out.

    Tables and archives are searched unpacked. A name also counts as JSON, HTML or an address has
    it, and in text of two or four bytes a letter.

    Yields:
        Each file, and what it or its path holds.
    """
    needles = _needles(names)
    local = {study / name for study in studies(folder) for name in LOCAL_FOLDERS}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if not local.isdisjoint(path.parents):
            continue
        file = path.relative_to(folder)
        counts = _count(str(file).encode(errors="replace"), needles)
        for content in _contents(path.read_bytes()):
            counts += _count(content, needles)
        yield path, [Found(str(file), name, times) for name, times in sorted(counts.items())]


def _needles(names: Iterable[str]) -> dict[bytes, list[tuple[bytes, str]]]:
    """All forms of all names, by their first four bytes."""
    needles = defaultdict(list)
    for name in names:
        forms = (name, json.dumps(name)[1:-1], html.escape(name), quote(name), quote(name, safe=""))
        wide = name.encode("utf-16-le", errors="replace").replace(b"\0", b"")
        for form in {wide, *(form.encode(errors="replace") for form in forms)}:
            needles[form[:4]].append((form, name))
    return needles


def _contents(data: bytes) -> Iterator[bytes]:
    """The bytes of a file, and of what is packed in it."""
    yield data
    if b"\0" in data:  # UTF-16 and UTF-32
        yield data.replace(b"\0", b"")
    if data.startswith(b"\x1f\x8b"):
        yield from _contents(gzip.decompress(data))
    elif data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from _contents(archive.read(name))
    elif data.startswith(b"PAR1"):
        table = pq.read_table(io.BytesIO(data))
        yield repr(table.schema.metadata).encode()
        for column in table.select(
            [field.name for field in table.schema if not pa.types.is_floating(field.type)]
        ).columns:
            yield "\n".join(map(str, column.to_pylist())).encode(errors="replace")


def _count(data: bytes, needles: Mapping[bytes, list[tuple[bytes, str]]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    longest = max((len(form) for several in needles.values() for form, _ in several), default=0)
    for start in range(0, len(data), _CHUNK):
        piece = data[start : start + _CHUNK + longest]
        for at in _candidates(piece, needles):
            for form, name in needles.get(piece[at : at + 4], ()) if at < _CHUNK else ():
                end = at + len(form)
                # A number within a longer one is none of a patient.
                around = piece[at - 1 : at] + piece[end : end + 1]
                if piece.startswith(form, at) and not (form.isdigit() and _DIGIT.search(around)):
                    counts[name] += 1
    return counts


def _candidates(data: bytes, needles: Iterable[bytes]) -> list[int]:
    """Where a name may begin, by its first and its second two bytes."""
    values = np.frombuffer(data, np.uint8).astype(np.uint16)
    pairs = values[:-1] << 8 | values[1:]
    first, second = np.zeros((2, 2**16), bool)
    for head in needles:
        first[head[0] << 8 | head[1]] = second[head[2] << 8 | head[3]] = True
    places = np.flatnonzero(first[pairs[:-2]])
    found: list[int] = places[second[pairs[places + 2]]].tolist()
    return found
