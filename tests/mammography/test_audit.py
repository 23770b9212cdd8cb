"""Every code that an audit can hold is explained in the documentation."""

import ast

import pytest
from project_paths import PROJECT

from miram.mammography.audit import (
    ACTIONS,
    AUDIT_CODES,
    DECODING_CODES,
    audit_markdown,
    explained,
)
from miram.mammography.decoding.errors import DecodingFailure
from miram.mammography.sources.cbis_ddsm.file_roles import NoteCode

ROOT = PROJECT
SOURCES = [
    *(ROOT / "src" / "miram" / "mammography" / "sources").rglob("*.py"),
    ROOT / "src" / "miram" / "mammography" / "crops" / "cut.py",
]


def codes_written_in(path):
    """String constants right before an action or a detail in calls that make audit rows."""
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    for call in calls:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if name == "note" and isinstance(call.args[2], ast.Constant):
            yield call.args[2].value


def test_the_documentation_of_the_audits_is_up_to_date():
    text = (ROOT / "docs" / "ingest_audit.md").read_text(encoding="utf-8")
    assert text == audit_markdown(), "write audit_markdown() to docs/ingest_audit.md"
    for code in (*AUDIT_CODES, *DECODING_CODES, *ACTIONS):
        assert f"| `{code!s}` |" in text


@pytest.mark.parametrize("code", [*NoteCode, *DecodingFailure])
def test_every_code_of_the_closed_lists_is_explained(code):
    assert explained(code) and explained(str(code))


def test_every_code_in_the_sources_and_the_cutter_is_explained():
    written = {code for path in SOURCES for code in codes_written_in(path)}
    assert len(written) >= 12 and {"mask_resized", "mask_empty", "path_malformed"} <= written
    assert not {code for code in written if not explained(code)}


def test_codes_of_mammogram_and_mask_are_explained_by_their_decoding_code():
    assert explained("image_truncated") and explained("mask_undecodable")
    assert not explained("image_of_a_cat")
