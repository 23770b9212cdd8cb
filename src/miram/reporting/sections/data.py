"""What the study was made from: data, what was left out, versions of code and libraries."""

from typing import Any

from miram.provenance import git_commit, versions
from miram.reporting.charts.images import contact_sheet, data_uri
from miram.reporting.facts.data import data_facts, left_out, skipped_parts, split_facts
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import listed
from miram.reporting.sections.section import Section

_SHEET = (10, 4)  # columns and rows of the contact sheet


class Data(Section):
    """Counts by split, pathology and type, and a contact sheet of lesions."""

    title = "Data"
    template = "data.html"

    def data(self, study: Study) -> dict[str, Any]:
        """Counts and the picture."""
        sheet = contact_sheet(study.crops, *_SHEET)
        facts, evaluated = data_facts(study), split_facts(study.splits).evaluated
        return {
            "line": f"{facts.patients} patients, of whom {evaluated} are evaluated",
            "facts": facts,
            "crop_size": study.crops.image_size,
            "sheet": {"uri": data_uri(sheet), "width": sheet.width, "height": sheet.height},
        }


class LeftOut(Section):
    """What ingestion, cropping, splitting and evaluation left out, with the reasons."""

    title = "Left out, repaired or unusual"
    template = "left_out.html"

    def applies(self, study: Study) -> bool:
        """Whether anything was left out, repaired or is missing."""
        return bool(left_out(study).rows or skipped_parts(study.methods).rows or study.missing)

    def data(self, study: Study) -> dict[str, Any]:
        """The audit by reason, what the evaluation skipped, and methods without a result."""
        counts: dict[str, int] = {}
        for row in left_out(study).rows:
            counts[row[3]] = counts.get(row[3], 0) + row[4]
        return {
            "line": listed((f"{count} {action}" for action, count in counts.items()), none=""),
            "left_out": left_out(study),
            "skipped": skipped_parts(study.methods),
            "missing": study.missing,
        }


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
            "line": f"data {study.crops.digest}, code {git_commit()[:10] or 'unknown'}",
            "rows": {
                "Crop store": study.crops.digest,
                **{f"sha256 of {name}": value for name, value in hashes},
                **{f"Encoder of {name}": digest for name, digest in encoders.items()},
                "Code": git_commit() or "not a git checkout",
                **versions(),
            },
        }
