"""What a study cannot say, sentence by sentence, from the study itself."""

from collections.abc import Iterator

from miram.evaluation.statistics.subgroups import MIN_PATIENTS
from miram.mammography.sources import source_note
from miram.reporting.facts.data import split_facts
from miram.reporting.facts.methods import beside_intervals, method_block, saw_images
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import counted, listed

RESEARCH_ONLY = (
    "Research use only: not a medical device. Nothing here may guide the care of a patient."
)


def study_limits(study: Study) -> list[str]:
    """The limits of a study, the most serious first."""
    return [
        *changed_data(study),
        *_of_the_data(study),
        *_of_the_split(study),
        *_of_the_metrics(study),
    ]


def method_limits(study: Study, method: str) -> list[str]:
    """Limits that concern one method alone."""
    masking = method_block(study, method).get("masking")
    if isinstance(masking, dict) and masking.get("kind") == "lesion":
        return ["Lesion outlines guided the masking: the encoder was not trained annotation-free."]
    return []


def changed_data(study: Study) -> list[str]:
    """Which methods were trained or evaluated on other data than those at hand."""
    found = []
    for method, result in study.methods.items():
        origin = result.metrics.get("features", {})
        evaluated_on = origin.get("crops", study.crops.digest)
        if trained_on := origin.get("trained_on"):
            found.append(
                f"The encoder of {method} was trained on the crops {trained_on} and evaluated on "
                f"{evaluated_on}: the data changed in between."
            )
        if evaluated_on != study.crops.digest:
            found.append(
                f"The metrics of {method} are of the crops {evaluated_on}; those at hand are "
                f"{study.crops.digest}."
            )
    return found


def _of_the_data(study: Study) -> Iterator[str]:
    note = source_note(study.source)
    manifest = study.crops.manifest
    lesions = manifest[manifest["kind"] == "lesion"]
    if note.synthetic:
        yield (
            "The images are synthetic: no metric has a clinical meaning or carries over to "
            "patients."
        )
    elif note.synthetic is None:
        yield (
            "How the data were collected, and which population they represent, is not known to "
            "the software."
        )
    if set(manifest["image_id"]) == set(lesions["image_id"]):
        yield "Every mammogram holds a marked lesion, unlike in screening, where most hold none."
    yield "Lesions were found and outlined beforehand: detection is not part of the study."
    yield (
        "All data came from one source. Nothing was tested on another scanner, hospital or "
        "population."
    )
    if upsampled := int(lesions["upsampled"].sum()):
        yield (
            f"{upsampled} of {counted(len(lesions), 'lesion crop')} had fewer pixels on the "
            "mammogram than are stored, and were enlarged."
        )


def _of_the_split(study: Study) -> Iterator[str]:
    if shared := split_facts(study.splits).shared:
        yield (
            f"In training and in test at once: {counted(shared, 'patient')}. Use the metrics only "
            "beside published ones with the same flaw."
        )
    if saw_images(study):
        yield (
            "Encoders pretrained without labels saw images of the patients that the probes are "
            "evaluated on. Metrics on unseen patients may be lower."
        )


def _of_the_metrics(study: Study) -> Iterator[str]:
    tasks = [one for result in study.methods.values() for one in result.metrics["tasks"].items()]
    patients = sorted({(name, facts["patients"]) for name, facts in tasks})
    if few := [item for item in patients if item[1] < MIN_PATIENTS]:
        names = listed(f"{task} ({counted(count, 'patient')})" for task, count in few)
        yield f"Too few patients for any verdict: {names}."
    yield (
        "The intervals show how much a metric could vary with other patients of the same kind, no "
        f"more. {beside_intervals(study.methods)}"
    )
    yield "With few patients, percentile intervals tend to be somewhat too narrow."
    yield (
        "A linear probe on a frozen encoder measures what the features hold, not what fine-tuning "
        "could reach."
    )
    if warned := sum(bool(facts.get("warnings")) for _, facts in tasks):
        yield (
            f"In {warned} of {counted(len(tasks), 'result')} some probe took the strongest or the "
            "weakest penalty it was offered: with more values in "
            "evaluation.linear_probe.regularization the metric might be another."
        )
    if study.has_comparisons():
        yield (
            "Comparisons are corrected over the methods of one task, not over tasks, settings or "
            "earlier studies on the same patients."
        )
