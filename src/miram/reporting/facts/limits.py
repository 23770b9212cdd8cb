"""What a study cannot say, sentence by sentence, from the study itself."""

from miram.models.methods import SUPERVISED
from miram.reporting.facts.data_sources import source_note
from miram.reporting.facts.methods import assessment_config, method_block
from miram.reporting.facts.seeds import beside_intervals
from miram.reporting.facts.splits import split_facts
from miram.reporting.facts.study import Study
from miram.reporting.facts.summary import VERDICT_PATIENTS
from miram.reporting.facts.words import counted, listed

RESEARCH_ONLY = (
    "Research use only: not a medical device. Nothing here may guide the care of a patient."
)


def study_limits(study: Study) -> list[str]:
    """The limits of a study, the gravest first.

    Args:
        study: The finished study.
    """
    return [*_of_the_data(study), *_of_the_split(study), *_of_the_figures(study)]


def method_limits(study: Study, method: str) -> list[str]:
    """Limits that concern one method alone.

    Args:
        study: The finished study.
        method: Name of the method.
    """
    masking = method_block(study, method).get("masking")
    if isinstance(masking, dict) and masking.get("kind") == "lesion":
        return [
            "The outlines of lesions led the masking: what was learned was not learned without "
            "annotation."
        ]
    return []


def _of_the_data(study: Study) -> list[str]:
    note = source_note(study.parameters.get("source"))
    manifest = study.crops.manifest
    lesions = manifest[manifest["kind"] == "lesion"]
    found = []
    if note.synthetic:
        found.append(
            "The images are synthetic: no figure has a clinical meaning or carries over to "
            "patients."
        )
    elif note.synthetic is None:
        found.append(
            "How the data were collected, and whom they stand for, is not known to the software."
        )
    if set(manifest["image_id"]) == set(lesions["image_id"]):
        found.append(
            "Every mammogram holds a marked lesion, unlike in screening, where most hold none."
        )
    found.append("Lesions were found and outlined beforehand: detection is no part of the study.")
    found.append(
        "All data came from one source. Nothing was tested on another scanner, hospital or "
        "population."
    )
    upsampled = int(lesions["upsampled"].sum())
    if upsampled:
        found.append(
            f"{upsampled} of {counted(len(lesions), 'lesion crop')} had fewer pixels on the "
            "mammogram than are stored, and were enlarged."
        )
    return found


def saw_images(study: Study) -> list[str]:
    """Methods whose encoders saw images of the patients that are judged, without labels.

    Args:
        study: The finished study.
    """
    facts = split_facts(study.splits)
    if facts.strategy != "cv" or not facts.seen:
        return []
    trained = [name for name, result in study.methods.items() if not result.history.empty]
    return [name for name in trained if name != SUPERVISED]


def _of_the_split(study: Study) -> list[str]:
    facts = split_facts(study.splits)
    found = []
    if facts.shared:
        found.append(
            f"In training and in test at once: {counted(facts.shared, 'patient')}. Use the figures "
            "only beside published ones with the same fault."
        )
    if saw_images(study):
        found.append(
            "Encoders pretrained without labels saw the images of the patients that the probes are "
            "judged on. Figures for patients never seen may be lower."
        )
    return found


def _of_the_figures(study: Study) -> list[str]:
    patients = {
        (task, facts["patients"])
        for result in study.methods.values()
        for task, facts in result.metrics["tasks"].items()
    }
    few = sorted(item for item in patients if item[1] < VERDICT_PATIENTS)
    found = []
    if few:
        names = listed(f"{task} ({counted(count, 'patient')})" for task, count in few)
        found.append(f"Too few patients for any verdict: {names}.")
    found += [
        "The intervals tell how far a figure could have been off with other patients of the same "
        f"kind, no more. {beside_intervals(study.methods)}",
        "With few patients, percentile intervals tend to be somewhat too narrow.",
        "A linear probe on a frozen encoder asks what the features hold, not what fine-tuning "
        "could reach.",
    ]
    comparison = assessment_config(study).comparison
    if comparison.reference in study.compared(comparison) and len(study.methods) > 1:
        found.append(
            "Comparisons are corrected over the methods of one task, not over tasks, settings or "
            "earlier studies on the same patients."
        )
    return found
