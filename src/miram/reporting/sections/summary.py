"""The findings of every task in careful words."""

from typing import Any

from miram.reporting.facts.findings import VERDICT_PATIENTS, study_findings
from miram.reporting.facts.methods import beside_intervals, borrowed_weights
from miram.reporting.facts.study import Study
from miram.reporting.sections.section import Section


class Summary(Section):
    """Highest metrics, chance level, the random encoder and paired comparisons, by task."""

    title = "Summary"
    template = "summary.html"

    def data(self, study: Study) -> dict[str, Any]:
        """The findings and what is needed to read them."""
        starts = {name: borrowed_weights(study, name) for name in study.methods}
        return {
            "findings": study_findings(study),
            "verdict_patients": VERDICT_PATIENTS,
            "beside_intervals": beside_intervals(study.methods),
            "borrowed": {name: start for name, start in starts.items() if start},
        }
