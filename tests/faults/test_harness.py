"""The damage is what a seed says, and the page says what the runs found."""

import json
import random
from collections import Counter

import mutations
import record
import write


def test_a_seed_gives_the_same_damage_again():
    films = mutations.films()
    name, content = next(iter(films.items()))
    others = list(films.values())
    found = [mutations.mutated(content, name, others, random.Random(4)) for _ in range(2)]
    assert found[0] == found[1] != content


def test_every_way_of_damage_changes_some_file():
    films = mutations.films()
    others, changed = list(films.values()), Counter()
    for number in range(60):
        for way in (
            *(mutations._in_bytes, mutations._in_numbers, mutations._spliced),
            *(mutations._in_tags, mutations._in_lengths),
            *(mutations._in_fragments, mutations._in_codestream),
        ):
            content = films["rle.dcm"]
            changed[way.__name__] += way(content, others, random.Random(number)) != content
    assert len(changed) == 7 and min(changed.values()) > 20


def test_the_page_has_a_row_for_each_row_of_each_file(tmp_path):
    tried = record.Tried("kills")
    tried.outcome["killed"] = 1234
    tried.fault("a file is left")
    (tmp_path / "a.json").write_text(json.dumps({"rows": [tried.row("python a.py")]}))
    other = {"what": "licenses | terms", "tried": "all", "outcome": "none", "command": "make b"}
    (tmp_path / "b.json").write_text(json.dumps({"rows": [other], "date": "2026-11-29"}))
    page = write.page(tmp_path)
    assert "| kills | 1,235 | 1,234 killed, 1 FAULT | `python a.py` |" in page
    assert "| licenses \\| terms | all | none | `make b` |" in page
    assert "- `b`: date 2026-11-29" in page


def test_every_row_of_the_documentation_is_that_of_a_run():
    page = (record.PROJECT / "docs/trust.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in page if line.startswith("| ")]
    assert len(rows) > 2 and set(rows) <= set(write.page(record.FOLDER).splitlines())
