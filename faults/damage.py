"""Hypothesis strategies: tables, bytes and JSON values with some damage in them."""

import json
from typing import Any

from hypothesis import strategies as st

NASTY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(
        (
            *("", " ", "nan", "NaN", "-", "=1+1", "1e999", "1e300", "0x10", "٣", "½", "1,5"),
            *("a\0b", "\0", "../../../etc/passwd", "/etc/passwd", "x" * 5000, "\ud800", "🩻"),
            *('"', "'", "\n", "\r", ";", "{}", "{patient}", "{0.__class__}", "null", "yes", "~"),
            *("<script>", "\ufeff", "MALIGNANT", "BENIGN", "LEFT", "train", "0.png", "mask.png"),
        )
    ),
    st.text(max_size=20),
)
JSON = st.recursive(
    NASTY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@st.composite
def changed_rows(draw: Any, rows: list[list[Any]]) -> bytes:
    """A CSV with some other cells, rows and columns, in some coding, and perhaps other bytes."""
    rows = [list(row) for row in rows]
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(rows) - 1))
        column = draw(st.integers(0, max(len(rows[at]) - 1, 0)))
        kind = draw(st.sampled_from(["cell", "cell", "cell", "drop", "twice", "row", "longer"]))
        if kind == "cell" and rows[at]:
            rows[at][column] = draw(NASTY)
        elif kind == "drop" and rows[at]:
            del rows[at][column]
        elif kind == "twice":
            rows.insert(at, list(rows[at]))
        elif kind == "row" and len(rows) > 1:
            del rows[at]
        else:
            rows[at].append(draw(NASTY))
    mark = draw(st.sampled_from([*",,,,,,,,,,,,", *";\t|"]))
    quoted = draw(st.booleans())
    lines = (
        mark.join(f'"{cell}"' if quoted else str("" if cell is None else cell) for cell in row)
        for row in rows
    )
    coding = draw(st.sampled_from(["utf-8"] * 20 + ["utf-8-sig", "utf-16", "latin-1"]))
    content = (
        draw(st.sampled_from(["\n"] * 9 + ["\r\n", "\r"])).join(lines).encode(coding, "replace")
    )
    return draw(changed_bytes(content))


@st.composite
def changed_bytes(draw: Any, content: bytes) -> bytes:
    """Mostly the same bytes; else some flipped, or a part that is gone or stands twice."""
    kind = draw(st.sampled_from(["same"] * 8 + ["flip", "cut", "gone", "twice"]))
    if kind == "same" or not content:
        return content
    found, at = bytearray(content), draw(st.integers(0, len(content) - 1))
    end = min(len(content), at + draw(st.integers(1, 200)))
    if kind == "flip":
        found[at] ^= draw(st.integers(1, 255))
    elif kind == "cut":
        del found[at:]
    elif kind == "gone":
        del found[at:end]
    else:
        found[at:at] = found[at:end]
    return bytes(found)


@st.composite
def changed_json(draw: Any, values: Any) -> Any:
    """Plain values with one to three others somewhere within."""
    values = json.loads(json.dumps(values))
    for _ in range(draw(st.integers(1, 3))):
        where, key = None, None
        inner = values
        while isinstance(inner, dict | list) and inner and (where is None or draw(st.booleans())):
            where = inner
            keys = list(inner) if isinstance(inner, dict) else range(len(inner))
            key = draw(st.sampled_from(list(keys)))
            inner = inner[key]
        if where is None:
            return draw(JSON)
        kind = draw(st.sampled_from(["other", "other", "gone", "more"]))
        if kind == "gone":
            del where[key]
        elif kind == "more" and isinstance(where, dict):
            where[draw(st.text(max_size=8))] = draw(JSON)
        else:
            where[key] = draw(JSON)
    return values
