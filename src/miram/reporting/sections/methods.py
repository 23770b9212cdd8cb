"""How the methods differ, and what they share."""

from typing import Any

from miram.models.methods import SUPERVISED
from miram.reporting.facts.methods import method_table, setting_tables
from miram.reporting.facts.study import Study
from miram.reporting.sections.section import Section


class Methods(Section):
    """Settings of the methods next to each other, then all shared settings."""

    title = "Methods and settings"
    template = "methods.html"

    def data(self, study: Study) -> dict[str, Any]:
        """The tables."""
        names = list(study.methods)
        return {
            "methods": method_table(study.parameters, names),
            "settings": setting_tables(study.parameters, names),
            "supervised": SUPERVISED in names,
        }
