"""The audit: nothing is lost, and every code that it can hold is explained."""

import ast
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from doc_pages import audit_markdown
from project_paths import PROJECT

from miram.mammography.audit import (
    ACTIONS,
    AUDIT_COLUMNS,
    AuditLog,
    audit_rows,
    summarize_audit,
)
from miram.mammography.decoding.errors import DecodingFailure
from miram.mammography.lesion_table import validate_lesions
from miram.mammography.sources import (
    SOURCES,
    Ingested,
    Source,
    SourceNote,
    explain_code,
    make_source,
    source_note,
)

MAMMOGRAPHY = PROJECT / "src" / "miram" / "mammography"


def codes_written_in(path):
    """String constants that stand for the code in calls that make audit rows."""
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            place = {"note": 2, "Note": 0, "UnplacedFile": 1, "UnwantedImageError": 0}.get(name)
            if place is not None and isinstance(call.args[place], ast.Constant):
                yield call.args[place].value


def test_the_documentation_of_the_audits_is_up_to_date():
    text = (PROJECT / "docs" / "ingest_audit.md").read_text(encoding="utf-8")
    assert text == audit_markdown(), "write audit_markdown() to docs/ingest_audit.md"
    for code in (*DecodingFailure, *ACTIONS):
        assert f"| `{code!s}` |" in text


def test_every_code_in_the_sources_and_the_cutter_is_explained():
    paths = [*(MAMMOGRAPHY / "sources").rglob("*.py"), *(MAMMOGRAPHY / "crops").rglob("*.py")]
    written = {code for path in paths for code in codes_written_in(path)}
    assert {"mask_missing", "mask_empty", "path_malformed", "archive", "mask_or_crop"} <= written
    assert not {code for code in [*written, *DecodingFailure] if not explain_code(code)}


def test_codes_of_mammogram_and_mask_are_explained_by_their_decoding_code():
    assert explain_code("image_truncated") == explain_code("mask_truncated") != ""
    assert explain_code("image_of_a_cat") == ""


class AtlasSource(Source):
    """A source that a user adds: one class and one line in the registry."""

    about: ClassVar = SourceNote("Atlas", citations=("Doe J (2030). An atlas.",), published=True)
    audit_codes: ClassVar = {"page_torn": "the page is torn. Scan it again"}

    pages: int = 1

    def ingest(self, raw_root: Path) -> Ingested:
        audit = AuditLog()
        audit.note("", "2.png", "page_torn", "left out", "page 2")
        row = {"lesion_id": "1", "patient_id": "p", "image_id": "1", "leaks": False}
        row |= {"image_path": "1.png", "mask_paths": []}
        return Ingested(validate_lesions(pd.DataFrame([row])), audit.table())


def test_a_source_is_one_class_and_one_line(monkeypatch, tmp_path):
    assert explain_code("page_torn") == "" and source_note("atlas").citations == ()
    monkeypatch.setitem(SOURCES, "atlas", AtlasSource)
    found = make_source("atlas", {"pages": 2}).ingest(tmp_path)
    assert len(found.lesions) == 1
    assert explain_code(found.audit["code"][0]) == "the page is torn. Scan it again"
    assert "| `page_torn` | the page is torn. Scan it again |" in audit_markdown()
    note = source_note("atlas")
    assert (note.title, note.key) == ("Atlas", "atlas") and "Doe" in note.citations[0]


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("phantom", "Phantom"),
        ("dicom_folder", "Own data"),
        ("other", "Own data"),
        (None, "Data of"),
    ],
)
def test_what_is_known_of_the_data_follows_from_the_source(source, title):
    note = source_note(source)
    assert note.title.startswith(title) and note.key == (source or "")


def problem(**values):
    return {**dict.fromkeys(AUDIT_COLUMNS, ""), **values}


def test_the_audit_does_not_depend_on_the_order_of_the_work():
    rows = [problem(lesion_id=name, code=code) for name in "ba" for code in ("y", "x")]
    pd.testing.assert_frame_equal(audit_rows(rows), audit_rows(rows[::-1]))
    assert audit_rows(rows)["lesion_id"].tolist() == ["a", "a", "b", "b"]


def test_an_empty_audit_has_its_columns():
    assert list(audit_rows([])) == list(AUDIT_COLUMNS) and summarize_audit(audit_rows([])).empty


def test_the_summary_counts_every_row_and_has_the_most_frequent_first():
    rows = [problem(code="x", action="left out")] + [problem(code="y", action="repaired")] * 3
    summary = summarize_audit(audit_rows(rows))
    assert summary.to_numpy().tolist() == [["y", "repaired", 3], ["x", "left out", 1]]


def test_no_cell_is_a_formula_and_doing_it_twice_changes_nothing():
    cells = ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "-5", "+1e3", "a=b", "'x"]
    audit = audit_rows([problem(file=cell, lesion_id=str(i)) for i, cell in enumerate(cells)])
    safe = ["'=1+1", "'+A1", "'-A1", "'@SUM(A1)", "'\t=1", "'\r=1", "-5", "+1e3", "a=b", "'x"]
    assert audit["file"].tolist() == safe
    pd.testing.assert_frame_equal(audit_rows(audit.to_dict("records")), audit)
