"""The model card of an encoder, in the format of Hugging Face, from the study it came from."""

from dataclasses import replace
from typing import Any

import pandas as pd

from miram.errors import MiramError
from miram.evaluation.subgroups import MIN_PATIENTS
from miram.models.names import SUPERVISED
from miram.provenance import git_commit, versions
from miram.reporting.card_data import card_data
from miram.reporting.card_evaluation import subgroup_sections, task_section
from miram.reporting.data_sources import source_note
from miram.reporting.encoder_input import encoder_input
from miram.reporting.limits import RESEARCH_ONLY, method_limits, study_limits
from miram.reporting.method_facts import (
    assessment_config,
    borrowed_weights,
    exposure,
    file_name,
    is_trained,
    method_block,
    unlabeled_crops,
)
from miram.reporting.seed_words import over_seeds
from miram.reporting.settings import method_table, plain, setting_tables
from miram.reporting.split_facts import split_facts
from miram.reporting.study import Study
from miram.reporting.tables import Table, data_facts, skipped_parts, training_table
from miram.reporting.words import listed, markdown_environment

_SETTINGS = ("encoder", "training", "rois", "splits", "features", "evaluation")
_KINDS = {
    "random": "An encoder with fresh weights. Nothing was trained: it is what every other method "
    "has to beat",
    "timm_backbone": "A model of timm, used as it is. Nothing was trained on these data",
    "supervised": "An encoder trained from scratch on the labels of the training patients: what "
    "pretraining without labels has to justify",
    "masked_autoencoder": "The encoder of a masked autoencoder, pretrained without labels: patches "
    "of lesion crops were hidden, and decoders, which are left behind, had to reconstruct the crop "
    "from the rest",
    "moco_v3": "An encoder pretrained without labels by contrast (MoCo-v3): two views of a crop "
    "had to be told from views of other crops",
}
_UNTOLD = "An encoder; the run's parameters do not tell how it was made"

_MIRAM = (
    "Vo HQ et al. (2025). Efficient Multi-scale Masked Autoencoders with Hybrid-Attention "
    "Mechanism for Breast Lesion Classification (MIRAM). arXiv 2503.07157"
)
_PAPERS = {
    "mae": (
        "He K et al. (2022). Masked Autoencoders Are Scalable Vision Learners. CVPR. "
        "arXiv 2111.06377",
    ),
    "moco_v3": (
        "Chen X, Xie S, He K (2021). An Empirical Study of Training Self-Supervised Vision "
        "Transformers. ICCV. arXiv 2104.02057",
    ),
    "hiend_mae": (
        "Tang F et al. (2025). Hi-End-MAE: Hierarchical encoder-driven masked autoencoders are "
        "stronger vision learners for medical image segmentation. arXiv 2502.08347",
    ),
    "miram_cross": (
        _MIRAM,
        "Fu L et al. (2025). Rethinking Patch Dependence for Masked Autoencoders. TMLR. "
        "arXiv 2401.14391",
    ),
}


def model_card(study: Study, method: str, subgroups: pd.DataFrame | None = None) -> str:
    """Write the model card of one method's encoder.

    Args:
        study: The finished study.
        method: Name of a method of the study.
        subgroups: Table of `miram.evaluation.prediction_tables.subgroup_figures` for this method;
            without it the subgroups are computed, which takes seconds per task.

    Returns:
        Markdown with a head that `huggingface_hub.ModelCard` reads. The same study gives the same
        card.

    Raises:
        MiramError: The study has no such method.
    """
    if method not in study.methods:
        raise MiramError(
            f"the study has no method {method!r}: there are {', '.join(study.methods)}"
        )
    page = markdown_environment().get_template("model_card.md")
    text = page.render(
        method=method,
        **_of_the_data(study, method),
        **_of_the_training(study, method),
        **_of_the_evaluation(study, method, subgroups),
        **_of_the_use(study, method),
    )
    return f"---\n{card_data(study, method).to_yaml()}\n---\n\n{text}"


def _of_the_data(study: Study, method: str) -> dict[str, Any]:
    return {
        "note": source_note(study.parameters.get("source")),
        "facts": data_facts(study),
        "split": split_facts(study.splits),
        "crops": study.crops,
        "shown": unlabeled_crops(study),
        "exposure": exposure(study, method),
        "start": borrowed_weights(study, method),
    }


def _of_the_training(study: Study, method: str) -> dict[str, Any]:
    block = method_block(study, method)
    training = training_table({method: study.methods[method]})
    return {
        "what": _KINDS.get(block.get("kind", ""), _UNTOLD),
        "trained": is_trained(study, method),
        "labeled": method == SUPERVISED,
        "labels_of": block.get("task"),
        "training": training,
        "trainings": len(training.rows),
        "settings": _settings(study, method),
    }


def _of_the_evaluation(study: Study, method: str, subgroups: pd.DataFrame | None) -> dict[str, Any]:
    result = study.methods[method]
    return {
        "tasks": {task: task_section(study, method, task) for task in result.metrics["tasks"]},
        "subgroups": subgroup_sections(study, method, subgroups),
        "verdict_patients": MIN_PATIENTS,
        "skipped": skipped_parts({method: result}),
        "draws": assessment_config(study).bootstrap_draws,
        "means": over_seeds({method: result}),
        "limits": [*method_limits(study, method), *study_limits(study)],
    }


def _of_the_use(study: Study, method: str) -> dict[str, Any]:
    folds = split_facts(study.splits).folds
    return {
        "research_only": RESEARCH_ONLY,
        "input": encoder_input(study, method),
        "per_fold": method == SUPERVISED and folds > 0,
        "pooling": _pooling(study),
        "versions": {**versions(), "code": git_commit() or "not a git checkout"},
        "citations": _citations(study, method),
    }


def _settings(study: Study, method: str) -> dict[str, Table]:
    own = method_table(study.parameters, [method])
    shared = setting_tables(study.parameters, list(study.methods))
    found = {name: shared[name] for name in _SETTINGS if name in shared}
    tables = {"method": own, **found} if own.rows else found
    return {name: _without_folders(table) for name, table in tables.items()}


def _without_folders(table: Table) -> Table:
    """Leave of a file its name alone."""
    rows = [(name, *map(file_name, texts)) for name, *texts in table.rows]
    return replace(table, rows=tuple(rows))


def _pooling(study: Study) -> str:
    """How the probes of the study read the encoder, in words."""
    features = plain(study.parameters.get("features", {}))
    told = [
        f"{name} {listed(value) if isinstance(value, list) else value}"
        for name, value in features.items()
        if name != "batch_size" and value
    ]
    return listed(told, "not told by the run's parameters")


def _citations(study: Study, method: str) -> tuple[str, ...]:
    papers = _PAPERS.get(method, (_MIRAM,) if method.startswith("miram_") else ())
    return (*papers, *source_note(study.parameters.get("source")).citations)
