"""The head of a model card: what hubs read, made by their own classes."""

from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from numpy import isfinite

from miram.models.names import SUPERVISED
from miram.reporting.data_sources import SourceNote, source_note
from miram.reporting.method_facts import borrowed_weights, is_trained, method_block
from miram.reporting.split_facts import split_facts
from miram.reporting.study import Study
from miram.reporting.styles import figure_label

# Names of https://hf.co/metrics; other figures keep their own.
_METRICS = {
    "auc": "roc_auc",
    "auc_macro": "roc_auc",
    "brier": "brier_score",
}


def card_data(study: Study, method: str) -> ModelCardData:
    """Describe an encoder to a hub.

    Every figure carries its interval and the numbers of lesions and patients in `args`; figures
    that are not defined are left out, as hubs take numbers only.

    Args:
        study: The finished study.
        method: Name of the method.
    """
    note = source_note(study.parameters.get("source"))
    return ModelCardData(
        model_name=method,
        library_name="timm",
        pipeline_tag="image-feature-extraction",
        tags=_tags(study, method, note),
        eval_results=_results(study, method, note) or None,
        **_license(note, borrowed_weights(study, method)),
    )


def _over_seeds(task: dict[str, Any], figure: dict[str, Any]) -> dict[str, Any]:
    """Of several seeds or repeats, how many a figure is the mean over, and how far apart."""
    counts = {"seed": len(task.get("seeds", [0])), "repeat": task.get("repeats", 1)}
    told: dict[str, Any] = {}
    for name, count in counts.items():
        if count > 1:
            told |= {f"{name}s": count, f"{name}_deviation": figure[f"{name}_deviation"]}
    return told


def _tags(study: Study, method: str, note: SourceNote) -> list[str]:
    tags = ["timm", "mammography", "feature-extraction", "research-only"]
    if method == SUPERVISED:
        tags.append("supervised")
    elif is_trained(study, method):
        tags.append("self-supervised")
    kind = method_block(study, method).get("kind")
    return [*tags, *([str(kind)] if kind else []), *(["synthetic-data"] if note.synthetic else [])]


def _license(note: SourceNote, start: str) -> dict[str, Any]:
    """Nobody has licensed the weights: what is known are the terms of the data."""
    if start or not note.terms_link:
        return {"license": "unknown"}
    return {
        "license": "other",
        "license_name": "terms-of-the-training-data",
        "license_link": note.terms_link,
    }


def _results(study: Study, method: str, note: SourceNote) -> list[EvalResult]:
    facts = split_facts(study.splits)
    times = f", {facts.repeats} times" if facts.repeats > 1 else ""
    side = f"cross-validation, {facts.folds} folds{times}" if facts.folds else "test"
    return [
        EvalResult(
            task_type="image-classification",
            task_name=f"linear probe: {task}",
            dataset_type=note.key or "unknown",
            dataset_name=note.title,
            dataset_config=task,
            dataset_split=side,
            dataset_revision=study.crops.digest,
            metric_type=_METRICS.get(name, name),
            metric_name=figure_label(name),
            metric_value=values["estimate"],
            metric_args={
                "interval": [values["lower"], values["upper"]],
                "level": 0.95,
                "lesions": found["lesions"],
                "patients": found["patients"],
                **_over_seeds(found, values),
            },
        )
        for task, found in study.methods[method].metrics["tasks"].items()
        for name, values in found["figures"].items()
        if isfinite([values[end] for end in ("estimate", "lower", "upper")]).all()
    ]
