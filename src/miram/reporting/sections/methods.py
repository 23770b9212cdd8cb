"""How the methods differ, and what they share."""

from typing import Any

from miram.models.methods import METHODS, SUPERVISED
from miram.reporting.facts.methods import method_table, setting_tables
from miram.reporting.facts.study import Study
from miram.reporting.sections.section import Section


class Methods(Section):
    """What each method is, the settings in which they differ, then all shared settings."""

    title = "Methods and settings"
    template = "methods.html"

    def data(self, study: Study) -> dict[str, Any]:
        """The methods and the tables."""
        names = list(study.methods)
        return {
            "about": [METHODS[name] for name in names if name in METHODS],
            "methods": method_table(study.parameters, names),
            "settings": setting_tables(study.parameters, names),
            "supervised": SUPERVISED in names,
        }
