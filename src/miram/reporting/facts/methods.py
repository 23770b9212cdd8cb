"""What a method was, what it was shown, and how it was judged, from the study itself."""

from pathlib import Path
from typing import Any

from miram.evaluation.config import AssessmentConfig
from miram.mammography.splits import pretraining_crops
from miram.models.methods import SUPERVISED
from miram.reporting.facts.settings import flatten, plain
from miram.reporting.facts.splits import SplitFacts, split_facts
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import counted


def assessment_config(study: Study) -> AssessmentConfig:
    """How the probes of a study were judged."""
    return AssessmentConfig.model_validate(study.parameters.get("evaluation", AssessmentConfig()))


def method_block(study: Study, method: str) -> dict[str, Any]:
    """Settings of a method as plain values; empty where the run's parameters have none."""
    block = plain(study.parameters.get(method, {}))
    block = block.get("method", block) if isinstance(block, dict) else {}
    return block if isinstance(block, dict) else {}


def told_settings(settings: Any) -> dict[str, str]:
    """Settings as dotted names and text; of a file its name, as where it lay tells of a machine."""
    return {name: file_name(text) for name, text in flatten(settings).items()}


def file_name(text: str) -> str:
    """The name of a file that is given with its whole path; any other text as it is."""
    return Path(text).name if Path(text).is_absolute() else text


def is_trained(study: Study, method: str) -> bool:
    """Whether anything was trained on the study's data."""
    return not study.methods[method].history.empty


def unlabeled_crops(study: Study) -> str:
    """The crops that methods without labels were given, in words."""
    manifest = study.crops.manifest
    # A store of lesions without an official part may lack the column.
    columns = list(dict.fromkeys([*manifest.columns, "official_split"]))
    rows = pretraining_crops(manifest.reindex(columns=columns), study.splits)
    seen = manifest.iloc[rows]
    background = int((seen["kind"] == "background").sum())
    return (
        f"{counted(len(seen) - background, 'lesion crop')} and "
        f"{counted(background, 'background patch', 'background patches')} of "
        f"{counted(seen['patient_id'].nunique(), 'patient')}, without labels"
    )


def borrowed_weights(study: Study, method: str) -> str:
    """The weights from elsewhere that a method starts from; empty where it has none.

    Args:
        study: The study.
        method: Name of the method.
    """
    block = method_block(study, method)
    own = block.get("pretrained") or (block.get("backbone") or {}).get("pretrained")
    if own or block.get("backbone") or block.get("kind") == "random":
        return file_name(str(own)) if own else ""
    training = plain(study.parameters.get("training", {}))
    start = (training.get("initialization") or {}).get("checkpoint")
    return file_name(str(start)) if start and is_trained(study, method) else ""


def exposure(study: Study, method: str) -> str:
    """What an encoder had seen of the patients that it is judged on.

    Args:
        study: The study.
        method: Name of the method.
    """
    start = borrowed_weights(study, method)
    if not start:
        return _own_exposure(study, method)
    return (
        f"It starts from {start}. What those weights were trained on is not known here; if images "
        "of the patients judged were among it, the figures are flattered. Apart from that: "
        f"{_own_exposure(study, method)}"
    )


def _own_exposure(study: Study, method: str) -> str:
    if not is_trained(study, method):
        return "Nothing was trained on these data: no image of any patient was shown."
    facts = split_facts(study.splits)
    if method == SUPERVISED:
        return _labeled_exposure(facts)
    if not facts.seen:
        return "Pretraining saw no image of any patient that the probes are judged on."
    return (
        f"Pretraining saw images, not labels, of {facts.seen} of the {facts.judged} patients that "
        "the probes are judged on. Figures for patients never seen may be lower."
    )


def _labeled_exposure(facts: SplitFacts) -> str:
    if facts.strategy == "cv":
        per = "fold of each repeat" if facts.repeats > 1 else "fold"
        return (
            f"There are {facts.folds * facts.repeats} encoders, one per {per}, each trained on the "
            "labels of all other patients; an encoder has seen neither image nor label of those it "
            "is judged on."
        )
    if facts.shared:
        return (
            f"Training on labels saw {facts.shared} of the {facts.judged} patients that the probes "
            "are judged on."
        )
    return "Training on labels saw neither image nor label of any patient it is judged on."
