"""Whether scores follow exposure or size instead of the lesion's look."""

from collections.abc import Collection
from typing import Any

import numpy as np

from miram.reporting.facts.shortcuts import NUMBERS, ShortcutFacts, study_shortcuts
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import counted, ends, number
from miram.reporting.sections.section import Section


class Shortcuts(Section):
    """Correlations of every method's scores with one number, and how that number separates."""

    title = "Shortcuts"
    template = "shortcuts.html"

    def applies(self, study: Study) -> bool:
        """Whether the first task is binary."""
        return study_shortcuts(study) is not None

    def data(self, study: Study) -> dict[str, Any]:
        """The facts, and the numbers in their order."""
        facts = study_shortcuts(study)
        assert facts is not None
        line = _line(facts, study.methods)
        return {"shortcuts": facts, "numbers": list(NUMBERS), "line": line}


def _line(facts: ShortcutFacts, methods: Collection[str]) -> str:
    """The strongest correlation of an encoder's scores with one number."""
    found = [
        (abs(one.estimate), method.method, name, one)
        for method in facts.methods
        for name, one in method.correlations.items()
        if method.method in methods and np.isfinite(one.estimate)
    ]
    if not found:
        return ""
    _, method, name, one = max(found, key=lambda row: row[0])
    return (
        f"{method} follows {name} most closely of {len(found)} correlations: {number(one.estimate)}"
        f" ({ends(one)}), {counted(facts.patients, 'patient')}"
    )
