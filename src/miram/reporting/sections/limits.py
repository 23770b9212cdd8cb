"""What the study cannot say, and what its results came from."""

from typing import Any

from miram.provenance import git_commit, versions
from miram.reporting.facts.limits import RESEARCH_ONLY, study_limits
from miram.reporting.facts.study import Study
from miram.reporting.sections.section import Section


class Limits(Section):
    """The limits of the study, the most serious first."""

    title = "Limits"
    template = "limits.html"

    def data(self, study: Study) -> dict[str, Any]:
        """The sentences."""
        return {"limits": [RESEARCH_ONLY, *study_limits(study)]}


class Versions(Section):
    """Digests of data and encoders, and the versions of code and libraries."""

    title = "Versions and digests"
    template = "versions.html"

    def data(self, study: Study) -> dict[str, Any]:
        """Names and values."""
        hashes = study.crops.info["sha256"].items()
        origins = {name: one.metrics.get("features", {}) for name, one in study.methods.items()}
        encoders = {name: one["encoder"] for name, one in origins.items() if "encoder" in one}
        return {
            "rows": {
                "Crop store": study.crops.digest,
                **{f"sha256 of {name}": value for name, value in hashes},
                **{f"Encoder of {name}": digest for name, digest in encoders.items()},
                "Code": git_commit() or "not a git checkout",
                **versions(),
            }
        }
