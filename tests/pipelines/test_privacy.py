"""What a study of a lab's own data writes holds no name, number, date or file of a patient."""

import json
import stat
import zipfile

import numpy as np
import pandas as pd
import pytest
from dicom_files import dicom
from leaks import make_project
from miram_command import call_miram, run_kedro
from pandas.testing import assert_frame_equal
from PIL import Image

from miram.mammography.pseudonyms import with_own_names

PATIENTS = 24
LAB = "Klinik-Sonnenhang"  # the raw root
TABLE = "Befunde_Weissenau.csv"
FOLDER = "Aufnahmen_Dezember"
PLANTED = [LAB, "Weissenau", "Dezember", "Okonkwo", "Adaeze", "KH7041", "19510823", "20190317"]
PLANTED += ["Station7", "Zugang88", "1951-08-23", "1.2.826.0.1.77"]


def write_lab(root):
    """Films of 24 patients with one lesion each; a file of the last one breaks off."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:300, :200]
    breast = columns < 150 - 0.002 * (rows - 150) ** 2
    (root / FOLDER).mkdir(parents=True)
    lines = ["number,film,outline,diagnosis,stage,notes"]
    for number in range(PATIENTS):
        malignant, at = number % 2, random.integers(60, 240)
        lesion = np.hypot(columns - 60, rows - at) < 18
        grey = breast * (20000 + 3000 * random.random(breast.shape) + 9000 * malignant * lesion)
        dataset = dicom(
            grey.astype(np.uint16),
            SOPInstanceUID=f"1.2.826.0.1.77.{number}",
            PatientName=f"Okonkwo^Adaeze{number}",
            PatientID=f"KH7041{number:02}",
            StudyDate="20190317",
            AccessionNumber="Zugang88",
            ViewPosition="CC",
            ImageLaterality="L",
        )
        dataset.add_new("PatientBirthDate", "DA", "19510823")
        private = dataset.private_block(0x0019, "Station7", create=True)
        private.add_new(1, "LO", "Station7 Okonkwo")
        film = f"{FOLDER}/Okonkwo_{number}_L_CC.dcm"
        dataset.save_as(root / film, enforce_file_format=True)
        outline = f"{FOLDER}/Okonkwo_{number}_outline.png"
        Image.fromarray(lesion.astype(np.uint8) * 255).save(root / outline)
        label = "cancer" if malignant else "benign"
        lines.append(f"KH7041{number:02},{film},{outline},{label},{number % 3},seen by Okonkwo")
    content = (root / film).read_bytes()
    (root / film).write_bytes(content[: len(content) // 2])
    # pydicom warns of a date that is none, and quotes it.
    first = root / FOLDER / "Okonkwo_0_L_CC.dcm"
    first.write_bytes(first.read_bytes().replace(b"20190317", b"Okonkwo!"))
    lines.append(f"KH704199,{FOLDER}/Okonkwo_99_L_CC.dcm,,benign,0,never scanned")
    (root / TABLE).write_text("\n".join(lines), encoding="utf-8")


def run_lab(folder, *asked, **options):
    """A project of its own after `kedro run`; what the command said is in data/run.log."""
    write_lab(folder / LAB)
    make_project(folder, TABLE, **options)
    params = f"source=image_table,raw_root={LAB},methods=mae"
    run = run_kedro("run", "--env", "test", "--params", params, *asked, folder=folder)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    (folder / "data/run.log").write_text(run.stdout + run.stderr)
    return folder


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return run_lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def open_lab(tmp_path_factory):
    """The same without pseudonyms, up to the predictions."""
    pipelines = ("--pipelines", "ingest,rois,pretrain,probe")
    return run_lab(tmp_path_factory.mktemp("open_lab"), *pipelines, pseudonyms=False)


def bytes_of(folder):
    """Every byte outside of the local layers, unpacked, without the scanner of the software."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.relative_to(folder).parts[0] == "02_intermediate":
            continue
        yield path, str(path.relative_to(folder)).encode() + path.read_bytes()
        if path.suffix == ".parquet":
            yield path, pd.read_parquet(path).to_csv().encode()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield path, archive.read(name).replace(b"\0", b"")


def planted_in(folder):
    return {
        (path.name, name)
        for path, content in bytes_of(folder)
        for name in PLANTED
        if name.encode() in content
    }


def scan(folder, capsys, *options):
    return call_miram("scan-phi", folder / "data", *options), capsys.readouterr().out


def test_nothing_that_a_study_writes_names_a_patient(lab):
    endings = {path.suffix for path, _ in bytes_of(lab / "data")}
    assert {".safetensors", ".html", ".parquet", ".db", ".npz", ".csv", ".json", ".log"} <= endings
    assert not planted_in(lab / "data")


def test_without_pseudonyms_files_name_patients_but_not_what_no_table_needs(open_lab):
    found = planted_in(open_lab / "data")
    assert {("predictions.parquet", "KH7041"), ("manifest.parquet", "Okonkwo")} <= found
    assert {name for _, name in found} == {"KH7041", "Okonkwo", "Dezember"}


def test_the_scan_finds_nothing_with_pseudonyms_and_everything_without(lab, open_lab, capsys):
    raw = ("--raw-root", str(lab / LAB))
    assert scan(lab, capsys)[1].startswith("nothing found: ")
    status, said = scan(lab, capsys, *raw)
    assert (status, said.startswith("nothing found: ")) == (0, True)
    status, said = scan(open_lab, capsys, *raw)
    assert status == 1
    for name in ("'KH704103'", "'Okonkwo'", f"'{FOLDER}/Okonkwo_3_L_CC.dcm'"):
        assert name in said
    status, said = scan(lab, capsys, "--data-root", str(lab / "data"), "--json")
    assert (status, json.loads(said)["found"]) == (0, [])


def test_a_scan_without_anything_to_search_for_is_refused(tmp_path, capsys):
    call_miram("scan-phi", tmp_path)
    assert "no identifier is known" in capsys.readouterr().err


def test_the_local_layer_says_who_is_who_to_its_owner_alone(lab, open_lab):
    folder = lab / "data/02_intermediate"
    for name in ("identities.parquet", "pseudonyms.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    identities = pd.read_parquet(folder / "identities.parquet")
    of = {kind: set(rows["name"]) for kind, rows in identities.groupby("kind")}
    assert of["patient"] == {f"KH7041{number:02}" for number in range(PATIENTS)}
    assert pd.read_parquet(open_lab / "data/02_intermediate/identities.parquet").empty
    assert not (open_lab / "data/02_intermediate/pseudonyms.key").exists()


def test_the_audit_of_a_broken_file_gives_its_pseudonym_and_the_reason(lab):
    audit = pd.read_csv(lab / "data/05_model_input/crops/audit.csv").query("action == 'left out'")
    identities = pd.read_parquet(lab / "data/02_intermediate/identities.parquet")
    names = identities.set_index("pseudonym")["name"]
    (row,) = audit.to_dict("records")
    assert row["code"] == "image_truncated"
    assert names[row["file"]] == f"{FOLDER}/Okonkwo_{PATIENTS - 1}_L_CC.dcm"


def test_pseudonyms_change_neither_crops_nor_who_is_in_which_fold(lab, open_lab):
    tables = []
    for folder in (lab / "data", open_lab / "data"):
        identities = pd.read_parquet(folder / "02_intermediate/identities.parquet")
        splits = pd.read_parquet(folder / "05_model_input/splits.parquet")
        tables.append(with_own_names(splits, identities).set_index("lesion_id").sort_index())
    assert_frame_equal(*tables)
    of_lesions = [
        manifest.loc[manifest["kind"] == "lesion", "sha256"].sort_values().tolist()
        for folder in (lab, open_lab)
        for manifest in [pd.read_parquet(folder / "data/05_model_input/crops/manifest.parquet")]
    ]
    assert of_lesions[0] == of_lesions[1]
    assert len(of_lesions[0]) == PATIENTS - 1
