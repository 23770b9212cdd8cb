"""The CLAIM 2024 checklist of a study and the model card of an encoder, from their templates."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

import yaml
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Template
from numpy import isfinite

from miram.errors import MiramError
from miram.mammography.sources import source_note
from miram.models.methods import SUPERVISED
from miram.reporting.facts.cards import encoder_facts, study_facts
from miram.reporting.facts.data import split_facts
from miram.reporting.facts.methods import borrowed_weights, is_trained, method_block, runs_of
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import markdown_environment
from miram.reporting.styles import metric_label

# Names of https://hf.co/metrics; other metrics keep their own.
_HUB_METRICS = {"auc": "roc_auc", "auc_macro": "roc_auc", "brier": "brier_score"}


class Status(StrEnum):
    """Who answers an item of the checklist."""

    ANSWERED = "answered"
    AUTHOR = "author to complete"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class ClaimItem:
    """One item of the checklist with its answer; texts are escaped for Markdown.

    Attributes:
        number: 1 to 44, as published.
        section: Where it belongs in a manuscript.
        asks: What has to be reported.
        status: Who answers it.
        answer: What the run knows, or why the item does not apply.
        left: What the author has to add; empty unless the item is the author's.
    """

    number: int
    section: str
    asks: str
    status: Status
    answer: str
    left: str


def claim_checklist(study: Study) -> list[ClaimItem]:
    """Fill the 44 items of the checklist from a study.

    An item is `answered` only where the author has nothing to add.

    Raises:
        ValueError: An item of `claim.yaml` has no text for this study, or contradictory ones.
    """
    facts = study_facts(study)
    return [
        _item(number, section, asks, **{key: text.render(facts) for key, text in texts.items()})
        for number, (section, asks, texts) in enumerate(_questions(), 1)
    ]


@cache
def _questions() -> tuple[tuple[str, str, dict[str, Template]], ...]:
    """Section and question of each item, and the templates of its answer."""
    environment = markdown_environment()
    asked = (files("miram.reporting") / "templates/claim.yaml").read_text(encoding="utf-8")
    return tuple(
        (
            part["section"],
            item.pop("asks"),
            {
                key: environment.from_string(text if isinstance(text, str) else " ".join(text))
                for key, text in item.items()
            },
        )
        for part in yaml.safe_load(asked)
        for item in part["items"]
    )


def _item(
    place: int, section: str, asks: str, known: str = "", add: str = "", not_applicable: str = ""
) -> ClaimItem:
    known, add, reason = (" ".join(text.split()) for text in (known, add, not_applicable))
    if not (known or add or reason):
        raise ValueError(f"item {place} of the checklist has an empty text: see claim.yaml")
    if reason and (known or add):
        raise ValueError(f"item {place} of the checklist is not applicable, and has an answer")
    status = Status.AUTHOR if add else Status.NOT_APPLICABLE if reason else Status.ANSWERED
    return ClaimItem(place, section, asks, status, known or reason, add)


def claim_markdown(items: list[ClaimItem]) -> str:
    """The items of `claim_checklist` as Markdown."""
    sections: dict[str, list[ClaimItem]] = {}
    for item in items:
        sections.setdefault(item.section, []).append(item)
    counts = Counter(item.status for item in items)
    ordered = {str(status): counts[status] for status in Status}
    return markdown_environment().get_template("claim.md").render(sections=sections, counts=ordered)


def model_card(study: Study, method: str) -> str:
    """Write the model card of one method's encoder, the same for the same study.

    Returns:
        Markdown with a head that `huggingface_hub.ModelCard` reads.

    Raises:
        MiramError: The study has no such method.
    """
    if method not in study.methods:
        raise MiramError(
            f"the study has no method {method!r}: there are {', '.join(study.methods)}"
        )
    facts = {**study_facts(study), **encoder_facts(study, method)}
    text = markdown_environment().get_template("model_card.md").render(facts)
    return f"---\n{card_data(study, method).to_yaml()}\n---\n\n{text}"


def card_data(study: Study, method: str) -> ModelCardData:
    """Describe an encoder to a hub.

    Every metric carries its interval and the numbers of lesions and patients in `args`; undefined
    metrics are left out, as hubs take numbers only.
    """
    note = source_note(study.source)
    trained = ["self-supervised"] * is_trained(study, method)
    tags = [
        *("timm", "mammography", "feature-extraction", "research-only"),
        *(["supervised"] if method == SUPERVISED else trained),
        *filter(None, [method_block(study, method).get("kind")]),
        *["synthetic-data"] * bool(note.synthetic),
    ]
    # Nobody has licensed the weights: what is known are the terms of the data.
    known = bool(note.terms_link) and not borrowed_weights(study, method)
    return ModelCardData(
        model_name=method,
        library_name="timm",
        pipeline_tag="image-feature-extraction",
        tags=tags,
        eval_results=_hub_results(study, method) or None,
        license="other" if known else "unknown",
        license_name="terms-of-the-training-data" if known else None,
        license_link=note.terms_link if known else None,
    )


def _hub_results(study: Study, method: str) -> list[EvalResult]:
    note, split = source_note(study.source), split_facts(study.splits)
    times = f", {split.repeats} times" * (split.repeats > 1)
    where = f"cross-validation, {split.folds} folds{times}" if split.folds else "test"
    return [
        EvalResult(
            task_type="image-classification",
            task_name=f"linear probe: {task}",
            dataset_type=note.key or "unknown",
            dataset_name=note.title,
            dataset_config=task,
            dataset_split=where,
            dataset_revision=study.crops.digest,
            metric_type=_HUB_METRICS.get(name, name),
            metric_name=metric_label(name),
            metric_value=values["estimate"],
            metric_args={
                "interval": [values["lower"], values["upper"]],
                "level": 0.95,
                "lesions": found["lesions"],
                "patients": found["patients"],
                **{f"{run}s": times for run, times in runs_of(found).items()},
                **{f"{run}_deviation": values[f"{run}_deviation"] for run in runs_of(found)},
            },
        )
        for task, found in study.methods[method].metrics["tasks"].items()
        for name, values in found["metrics"].items()
        if isfinite([values[end] for end in ("estimate", "lower", "upper")]).all()
    ]
