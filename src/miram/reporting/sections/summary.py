"""The answer of a study on one screen, and what it cannot say."""

from typing import Any

from miram.reporting.charts.forest import main_forest
from miram.reporting.facts.findings import pretrains, study_findings
from miram.reporting.facts.limits import changed_data, study_limits
from miram.reporting.facts.methods import borrowed_weights
from miram.reporting.facts.study import Study
from miram.reporting.sections.section import Section


class Summary(Section):
    """The main task: the best pretrained method beside the untrained encoder and the baselines."""

    title = "Summary"
    template = "summary.html"
    folded = False

    def data(self, study: Study) -> dict[str, Any]:
        """The finding of the first task, and its forest plot."""
        finding = next(iter(study_findings(study)), None)
        starts = {name: borrowed_weights(study, name) for name in study.methods}
        return {
            "finding": finding,
            "pretrained": finding and finding.trained and pretrains(finding.trained.method),
            "forest_plot": finding and main_forest(finding),
            "changed": changed_data(study),
            "borrowed": {name: start for name, start in starts.items() if start},
        }


class Limits(Section):
    """The limits of the study, the most serious first."""

    title = "Limits"
    template = "limits.html"

    def data(self, study: Study) -> dict[str, Any]:
        """The sentences."""
        # What concerns the answer itself stands beside it.
        limits = [one for one in study_limits(study) if one not in changed_data(study)]
        return {"limits": limits, "line": f"{len(limits)} things that the metrics do not say"}
