"""What the study says of every task, in careful words, and what it cannot say."""

from typing import Any

from miram.evaluation.statistics.subgroups import MIN_PATIENTS
from miram.reporting.facts.findings import study_findings
from miram.reporting.facts.limits import RESEARCH_ONLY, study_limits
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
            "min_patients": MIN_PATIENTS,
            "beside_intervals": beside_intervals(study.methods),
            "borrowed": {name: start for name, start in starts.items() if start},
        }


class Limits(Section):
    """The limits of the study, the most serious first."""

    title = "Limits"
    template = "limits.html"

    def data(self, study: Study) -> dict[str, Any]:
        """The sentences."""
        return {"limits": [RESEARCH_ONLY, *study_limits(study)]}
