"""Whether scores follow exposure or size instead of the lesion's look."""

from typing import Any

from miram.reporting.facts.shortcuts import NUMBERS, study_shortcuts
from miram.reporting.facts.study import Study
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
        return {"shortcuts": study_shortcuts(study), "numbers": list(NUMBERS)}
