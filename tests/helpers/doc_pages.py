"""Pages of the documentation that are made from the code: write them where a test says so."""

from collections.abc import Mapping
from typing import Any

from miram.mammography.audit import ACTIONS, CROP_CODES, DECODING_CODES, SHARED_CODES
from miram.mammography.lesion_table import COLUMNS, MEANT
from miram.mammography.sources import SOURCES


def lesion_table_markdown() -> str:
    """Write the documentation of the lesion table, column by column."""
    lines = [
        "# The lesion table",
        "",
        "`data/02_intermediate/lesions.parquet`: one row per usable lesion, whatever the source.",
        "An image in which nothing is marked has one row, with empty `mask_paths` and no box.",
        "Further columns, such as a lab's own labels, are kept at the end.",
        "Of own data, lesions, patients, images and files go under [pseudonyms](privacy.md).",
        "",
        "| column | holds | required | meaning |",
        "|---|---|---|---|",
    ]
    for column in COLUMNS:
        allowed = f": {', '.join(f'`{value}`' for value in column.values)}" if column.values else ""
        required = "yes" if column.required else "no"
        meaning = column.description + allowed
        lines.append(f"| `{column.name}` | {MEANT[column.kind]} | {required} | {meaning} |")
    return "\n".join([*lines, ""])


_AUDITS = """\
# The audits

`data/02_intermediate/ingest_audit.csv` and `audit.csv` in the crop store list what
was left out, repaired or odd. Columns: `lesion_id` (empty for a file that belongs
to no lesion), `file` (relative to the raw root), `code`, `action`, `detail`.
A lesion that is left out has exactly one row with the action `left out`.

{actions}
## Codes of several sources

{shared}
{own}
## Cutting

{cutting}
## Decoding

A file that cannot be decoded has one of the codes below, with `image_` before it
for the mammogram of a lesion and `mask_` for its mask.

{decoding}"""


def audit_markdown() -> str:
    """Write `docs/ingest_audit.md`: every code of the audits, by where it comes from."""
    # The phantom shares the codes of CBIS-DDSM.
    own = {id(source.audit_codes): (name, source) for name, source in SOURCES.items()}
    sections = (f"## `{name}`\n\n{_table('code', one.audit_codes)}" for name, one in own.values())
    return _AUDITS.format(
        actions=_table("action", ACTIONS),
        shared=_table("code", SHARED_CODES),
        own="\n".join(sections),
        cutting=_table("code", CROP_CODES),
        decoding=_table("decoding code", DECODING_CODES),
    )


def _table(heading: str, rows: Mapping[Any, str]) -> str:
    lines = (f"| `{name!s}` | {meaning} |\n" for name, meaning in rows.items())
    return f"| {heading} | meaning |\n|---|---|\n{''.join(lines)}"
