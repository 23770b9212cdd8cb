"""Identifiers in every place of a lab's raw data, searched for in every byte that leaves it.

    python faults/leaks.py

Every text tag of DICOM that no setting of an image depends on holds a mark of its own, as do
private tags, and the names of files, folders, tables and patients. A study is run, its model is
promoted and exported; then every file outside of the raw layer is searched, packed ones unpacked,
and the words of the commands. The search is none of the software's own.
"""

import argparse
import base64
import gzip
import io
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import yaml
from PIL import Image
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from record import PROJECT, Tried, record

MARK = re.compile(rb"Zq[0-9A-F]{8}k")
_TEXTS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
# What says how the image is to be read: a mark there would only make it another image.
_READ = {
    *("SpecificCharacterSet", "ImageType", "Modality", "PhotometricInterpretation"),
    *("VOILUTFunction", "PresentationIntentType", "ViewPosition", "ImageLaterality", "Laterality"),
    *("PixelPresentation", "PresentationLUTShape", "PatientOrientation", "RescaleType"),
    *("ModalityLUTType", "LossyImageCompression", "BurnedInAnnotation", "SeriesDescription"),
}
_OTHERS = (b"19510823", b"1951-08-23", b"20190317", b"2019-03-17", b"1.2.826.0.1.77")
_MIRAM = "import sys; from miram.commands.app import main; main(sys.argv[2:])"
_DATA_URI = re.compile(rb"data:[\w/+.-]+;base64,([\w+/=]+)")


def mark(number: int) -> str:
    """A text that stands nowhere else."""
    return f"Zq{number:08X}k"


class Lab:
    """Raw data of a lab with marks everywhere; `marks` are their numbers and what holds them."""

    def __init__(self, root: Path, patients: int) -> None:
        self.root, self.marks = root, 0
        self.tags: set[str] = set()
        folder = self._name()
        random = np.random.default_rng(0)
        rows, columns = np.mgrid[:300, :200]
        breast = columns < 150 - 0.002 * (rows - 150) ** 2
        (root / folder).mkdir(parents=True)
        lines = ["number,film,outline,diagnosis,stage,notes,seen"]
        for number in range(patients):
            patient, malignant, at = self._name(), number % 2, random.integers(60, 240)
            lesion = np.hypot(columns - 60, rows - at) < 18
            grey = breast * (20000 + 3000 * random.random(breast.shape) + 9000 * malignant * lesion)
            film, outline = f"{folder}/{self._name()}.dcm", f"{folder}/{self._name()}.png"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._film(grey.astype(np.uint16), patient, number).save_as(
                    root / film, enforce_file_format=True
                )
            Image.fromarray(lesion.astype(np.uint8) * 255).save(root / outline)
            label = "cancer" if malignant else "benign"
            notes = f"{self._name()} of {patient}"
            lines.append(
                f"{patient},{film},{outline},{label},{number % 3},{notes},2019-03-17 {self._name()}"
            )
        content = (root / film).read_bytes()
        (root / film).write_bytes(content[: len(content) // 2])  # the audit tells of it
        lines.append(f"{self._name()},{folder}/{self._name()}.dcm,,benign,0,,")  # and of this
        (root / folder / f"{self._name()}.txt").write_text(self._name())
        self.table = f"{self._name()}.csv"
        (root / self.table).write_text("\n".join(lines), encoding="utf-8")

    def _name(self) -> str:
        self.marks += 1
        return mark(self.marks)

    def _film(self, pixels: np.ndarray, patient: str, number: int) -> Dataset:
        film = Dataset()
        film.file_meta = FileMetaDataset()
        film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        film.file_meta.ImplementationVersionName = self._name()
        nested = Dataset()
        for tag, (kind, _, _, retired, keyword) in DicomDictionary.items():
            group, wanted = tag >> 16, keyword and keyword not in _READ and not retired
            if not wanted or group in (0x0000, 0x0002, 0x0004, 0xFFFA, 0xFFFE):
                continue
            if kind in _TEXTS:
                film[tag] = _element(tag, kind, self._name())
                nested[tag] = _element(tag, kind, self._name())
                self.tags.add(keyword)
            elif kind in ("DA", "DT"):
                film.add_new(tag, kind, "19510823")
                self.tags.add(keyword)
        film.ReferencedPatientSequence = [nested]
        private = film.private_block(0x0019, self._name(), create=True)
        for place in range(1, 20):
            private.add_new(place, "LO", self._name())
        values = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2",
            "SOPInstanceUID": f"1.2.826.0.1.77.{number}",
            "StudyInstanceUID": f"1.2.826.0.1.77.9.{number}",
            "SeriesInstanceUID": f"1.2.826.0.1.77.8.{number}",
            "StudyDate": "20190317",
            "PatientID": patient,
            "Modality": "MG",
            "ViewPosition": "CC",
            "ImageLaterality": "L",
            "PhotometricInterpretation": "MONOCHROME2",
            "SamplesPerPixel": 1,
            "Rows": pixels.shape[0],
            "Columns": pixels.shape[1],
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 0,
            "PixelData": pixels.tobytes(),
        }
        for keyword, value in values.items():
            setattr(film, keyword, value)
        return film


def _element(tag: int, kind: str, value: str) -> DataElement:
    """An element, also one whose value DICOM would not have: codes are upper case there."""
    return DataElement(tag, kind, value, validation_mode=pydicom.config.IGNORE)


def unpacked(content: bytes, depth: int = 0) -> Iterator[bytes]:
    """The bytes of a file, and of what is packed in it, as far down as it goes."""
    yield content
    if b"\0" in content:
        yield content.replace(b"\0", b"")  # text of two bytes a letter
    if depth > 3:
        return
    for found in _DATA_URI.findall(content):
        yield from unpacked(base64.b64decode(found + b"==="), depth + 1)
    if content[:2] == b"\x1f\x8b":
        yield from unpacked(gzip.decompress(content), depth + 1)
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from unpacked(archive.read(name), depth + 1)
    elif content[:4] == b"PAR1":
        table = pd.read_parquet(io.BytesIO(content))
        yield f"{table.attrs} {list(table)}".encode()
        yield table.to_csv().encode()
    elif content[:4] == b"\x89PNG":
        with Image.open(io.BytesIO(content)) as picture:
            yield repr(picture.info).encode()
    elif content[:1] == b"\x78":  # a bare stream of zlib
        try:
            yield zlib.decompress(content)
        except zlib.error:
            return


def found_in(folder: Path, but: str = "02_intermediate") -> Iterator[tuple[str, bytes]]:
    """Marks and dates in names and bytes of a folder; the layer beside the raw data is left out."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith(but):
            for content in (name.encode(), *unpacked(path.read_bytes())):
                for word in MARK.findall(content):
                    yield name, word
                for word in _OTHERS:
                    if word in content:
                        yield name, word


def make_project(folder: Path, table: str, **options: Any) -> None:
    """A project of its own on a lab's data; `options` are further ones of its table."""
    (folder / "src").mkdir(parents=True)
    shutil.copytree(PROJECT / "conf", folder / "conf")
    (folder / "pyproject.toml").symlink_to(PROJECT / "pyproject.toml")
    table_options = {
        "table": table,
        "columns": {
            "patient_id": "number",
            "image_path": "film",
            "mask_paths": "outline",
            "pathology": "diagnosis",
        },
        "values": {"pathology": {"cancer": "MALIGNANT", "benign": "BENIGN"}},
        "label_columns": ["stage"],
        **options,
    }
    (folder / "conf/test/parameters_lab.yml").write_text(
        yaml.safe_dump({"sources": {"image_table": table_options}})
    )


def attack(folder: Path, patients: int = 24, commands: int | None = None) -> Tried:
    """Plant, run, promote, export, and search."""
    shutil.rmtree(folder, ignore_errors=True)
    raw = folder / mark(0)
    lab = Lab(raw, patients)
    tried = Tried(
        f"identifiers planted in {len(lab.tags):,} tags, private tags, and names of files, "
        "folders, tables and patients"
    )
    make_project(folder, lab.table)
    params = f"source=image_table,raw_root={raw.name},methods=mae"
    asked = (
        ("kedro", "run", "--env", "test", "--params", params),
        ("kedro", "run", "--env", "test", "--pipeline", "finetune", "--params", params),
        *(
            ("kedro", "run", "--env", "test", "--pipeline", name, "--params", f"{params},{more}")
            for name, more in (("promote", "promote.method=mae"), ("export", "export.formats=timm"))
        ),
        ("miram", "report", "--data-root", "data"),
        ("miram", "verify", "data"),
        ("miram", "compare", "mae", "--reference", "hog", "--data-root", "data"),
    )
    for number, command in enumerate(asked[:commands]):
        program = ["-m"] if command[0] == "kedro" else ["-c", _MIRAM]
        words = [sys.executable, *program, *command]
        run = subprocess.run(words, cwd=folder, capture_output=True)
        log = folder / f"data/command_{number}.log"  # what it says is searched as well
        log.parent.mkdir(exist_ok=True)
        log.write_bytes(run.stdout + run.stderr)
        if run.returncode:
            tried.fault(f"{' '.join(command)}: {run.stderr[-800:].decode(errors='replace')}")
    planted = _planted(raw, lab)
    leaks = sorted(set(found_in(folder / "data")))
    for name, word in leaks:
        tried.fault(f"{name} holds {word.decode()}")
    tried.outcome["not found outside of the raw layer"] = planted - len({word for _, word in leaks})
    return tried


def _planted(raw: Path, lab: Lab) -> int:
    """Different marks and dates that really stand in the raw data."""
    found = {word for _, word in found_in(raw, but="nothing")}
    assert len({word for word in found if MARK.fullmatch(word)}) > lab.marks // 2
    return len(found)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=24)
    asked = parser.parse_args()
    tried = attack(PROJECT / "build/faults/leaks", asked.patients)
    return record("leaks", [tried], 0)


if __name__ == "__main__":
    sys.exit(main())
