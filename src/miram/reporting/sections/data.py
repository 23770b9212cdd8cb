"""What the study was made from, and what was left out."""

from typing import Any

from miram.reporting.charts.images import contact_sheet, data_uri
from miram.reporting.facts.data import data_facts, left_out, skipped_parts
from miram.reporting.facts.study import Study
from miram.reporting.sections.section import Section

_SHEET = (10, 4)  # columns and rows of the contact sheet


class Data(Section):
    """Counts by split, pathology and type, and a contact sheet of lesions."""

    title = "Data"
    template = "data.html"

    def data(self, study: Study) -> dict[str, Any]:
        """Counts and the picture."""
        sheet = contact_sheet(study.crops, *_SHEET)
        return {
            "facts": data_facts(study),
            "crop_size": study.crops.image_size,
            "sheet": {"uri": data_uri(sheet), "width": sheet.width, "height": sheet.height},
        }


class LeftOut(Section):
    """What ingestion, cropping, splitting and evaluation left out, with the reasons."""

    title = "What was left out, and why"
    template = "left_out.html"

    def data(self, study: Study) -> dict[str, Any]:
        """The audit by reason, what the evaluation skipped, and methods without a result."""
        return {
            "left_out": left_out(study),
            "skipped": skipped_parts(study.methods),
            "missing": study.missing,
        }
