"""The model card of an encoder, in the format of Hugging Face, from the study it came from."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCardData
from numpy import isfinite

from miram.errors import MiramError
from miram.evaluation.prediction_tables import subgroup_metrics
from miram.evaluation.predictions import task_scores
from miram.evaluation.statistics.subgroups import MIN_PATIENTS
from miram.models.methods import METHODS, SUPERVISED
from miram.provenance import git_commit, versions
from miram.reporting.charts.styles import MAIN_METRICS, metric_label
from miram.reporting.facts.data_sources import SourceNote, source_note
from miram.reporting.facts.limits import RESEARCH_ONLY, method_limits, study_limits
from miram.reporting.facts.methods import (
    assessment_config,
    borrowed_weights,
    exposure,
    file_name,
    is_trained,
    method_block,
    unlabeled_crops,
)
from miram.reporting.facts.seeds import over_seeds
from miram.reporting.facts.settings import method_table, plain, setting_tables
from miram.reporting.facts.splits import split_facts
from miram.reporting.facts.study import Study
from miram.reporting.facts.summary import RANDOM, majority_answer
from miram.reporting.facts.tables import Table, data_facts, skipped_parts, training_table
from miram.reporting.facts.words import interval, listed, markdown_environment, number, p_value

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
            metric_name=metric_label(name),
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
        for name, values in found["metrics"].items()
        if isfinite([values[end] for end in ("estimate", "lower", "upper")]).all()
    ]


_REFERENCES = (RANDOM, SUPERVISED)


def task_section(study: Study, method: str, task: str) -> dict[str, Any]:
    """What a card says of one task.

    Args:
        study: The finished study.
        method: Name of the method.
        task: Name of a task that was evaluated.

    Returns:
        The task's facts from the metrics, and tables of its figures (`table`), classes
        (`classes_table`), other probes (`probes`) and other encoders (`beside`).
    """
    found = study.methods[method].metrics["tasks"][task]
    return {
        **found,
        "table": _figures(found),
        "beside": _beside(study, method, task),
        "guess": _guess(study, method, task),
        "classes_table": _classes(found),
        "probes": _probes(found),
    }


def _figures(found: dict[str, Any]) -> Table:
    """All figures; of several seeds or repeats with the standard deviation between them."""
    counts = {"seed": len(found.get("seeds", [0])), "repeat": found.get("repeats", 1)}
    several = [name for name, count in counts.items() if count > 1]
    rows = [
        (
            metric_label(name),
            values["estimate"],
            interval(values["lower"], values["upper"]),
            *(number(values[f"{name}_deviation"]) for name in several),
        )
        for name, values in found["metrics"].items()
    ]
    heads = ("Figure", "Estimate", "95 % interval", *(f"SD over {name}s" for name in several))
    return Table(heads, tuple(rows))


def _classes(found: dict[str, Any]) -> Table:
    """Each class against the rest; empty for a binary task, whose figures say it already."""
    rows = [] if found["kind"] == "binary" else found.get("per_class", [])
    cells = [
        (row["class"], row["lesions"], row["patients"], *_area(row["metrics"]["auc"]))
        for row in rows
    ]
    return Table(("Class", "Lesions", "Patients", "ROC AUC", "95 % interval"), tuple(cells))


def _probes(found: dict[str, Any]) -> Table:
    """The main figure when the features are read in another way."""
    main = next(name for name in MAIN_METRICS if name in found["metrics"])
    rows = [
        (name, *_area(probe["metrics"][main])) for name, probe in found.get("protocols", {}).items()
    ]
    return Table(("Probe", metric_label(main), "95 % interval"), tuple(rows))


def _area(figure: dict[str, Any]) -> tuple[str, str]:
    return number(figure["estimate"]), interval(figure["lower"], figure["upper"])


def _guess(study: Study, method: str, task: str) -> str:
    """What an answer that looks at no image achieves, in words."""
    config = assessment_config(study)
    result = study.methods[method]
    found = result.metrics["tasks"][task]
    scores = task_scores(result.predictions, task)
    answer, share = majority_answer(
        scores, found["kind"], found["classes"], config.bootstrap_draws, config.seed
    )
    always = f"answering “{answer}”" if answer else "giving every label its more frequent value"
    what = "these lesions" if answer else "the single labels"
    return (
        f"Always {always} is right for {number(share.estimate)} of {what} "
        f"(95 % interval {interval(share.lower, share.upper)})."
    )


def _beside(study: Study, method: str, task: str) -> Table:
    """The main figure beside those of the untrained and the supervised encoder."""
    board = study.probes
    chosen = board[(board["task"] == task) & board["metric"].isin(MAIN_METRICS)]
    names = list(dict.fromkeys([method, *_REFERENCES]))
    rows = [
        (row.method, row.estimate, interval(row.lower, row.upper), row.lesions, row.patients)
        for name in names
        for row in chosen[chosen["method"] == name].itertuples()
    ]
    head = metric_label(chosen["metric"].iloc[0]) if len(chosen) else "Figure"
    return Table(("Encoder", head, "95 % interval", "Lesions", "Patients"), tuple(rows))


def subgroup_sections(study: Study, method: str, table: pd.DataFrame | None) -> dict[str, Table]:
    """The main figure in every subgroup, by task; tasks without subgroups are absent.

    Args:
        study: The finished study.
        method: Name of the method.
        table: Table of `subgroup_metrics` for this method; computed if not given.
    """
    if table is None:
        result = study.methods[method]
        table = subgroup_metrics(
            result.predictions, study.lesions, result.metrics, assessment_config(study)
        )
    main = table[table["metric"].isin(MAIN_METRICS)]
    heads = ("Subgroup", "Value", "Lesions", "Patients")
    return {
        str(task): Table(
            (*heads, metric_label(rows["metric"].iloc[0]), "95 % interval", "Verdict"),
            tuple(_subgroup_cells(row) for row in rows.itertuples()),
        )
        for task, rows in main.groupby("task", sort=False)
    }


def _subgroup_cells(row: Any) -> tuple[Any, ...]:
    verdict = f"{row.verdict} (p {p_value(row.p_holm)})" if isfinite(row.p_holm) else row.verdict
    ends = interval(row.lower, row.upper)
    return row.subgroup, row.value, row.lesions, row.patients, row.estimate, ends, verdict


@dataclass(frozen=True)
class EncoderInput:
    """What an encoder takes, as far as the run's parameters tell.

    Attributes:
        name: timm's name of the model.
        channels: Channels of an image.
        side: Side of an image in pixels.
        mean: Subtracted from grey levels in [0, 1].
        deviation: Divided by.
        tokens: Patches of an image; 0 for a model that is read by its own pooled vector.
    """

    name: str
    channels: int
    side: int
    mean: float
    deviation: float
    tokens: int


def encoder_input(study: Study, method: str) -> EncoderInput | None:
    """What the encoder of a method takes; None where the run's parameters do not tell.

    Args:
        study: The finished study.
        method: Name of the method.
    """
    from miram.models.backbone import TimmBackboneConfig
    from miram.models.encoder import EncoderConfig
    from miram.models.pixels import PIXEL_MEAN, PIXEL_STD

    block = method_block(study, method)
    own = block if block.get("kind") == "timm_backbone" else block.get("backbone")
    try:
        if own:
            backbone = TimmBackboneConfig.model_validate(own)
            pixels = backbone.pixels
            mean = pixels.get("pixel_mean", PIXEL_MEAN)
            deviation = pixels.get("pixel_std", PIXEL_STD)
            channels = backbone.timm_arguments["in_chans"]
            return EncoderInput(backbone.name, channels, backbone.side, mean, deviation, 0)
        shared = EncoderConfig.model_validate(plain(study.parameters.get("encoder", {})))
    except MiramError:
        return None
    tokens = shared.grid_side**2
    return EncoderInput(
        shared.name, shared.channels, shared.image_size, PIXEL_MEAN, PIXEL_STD, tokens
    )


_SETTINGS = ("encoder", "training", "rois", "splits", "features", "evaluation")
_UNTOLD = "An encoder; the run's parameters do not tell how it was made"


def model_card(study: Study, method: str, subgroups: pd.DataFrame | None = None) -> str:
    """Write the model card of one method's encoder.

    Args:
        study: The finished study.
        method: Name of a method of the study.
        subgroups: Table of `miram.evaluation.prediction_tables.subgroup_metrics` for this method;
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
        "what": _summary(method, block.get("kind")),
        "trained": is_trained(study, method),
        "labeled": method == SUPERVISED,
        "labels_of": block.get("task"),
        "training": training,
        "trainings": len(training.rows),
        "settings": _settings(study, method),
    }


def _summary(method: str, kind: str | None) -> str:
    known = METHODS.get(method)
    if known and kind == known.kind:
        return known.summary
    if kind == "timm_backbone":
        return "A model of timm, used as it is. Nothing was trained on these data"
    return f"An encoder of method kind {kind}, configured by the study" if kind else _UNTOLD


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
    papers = METHODS[method].papers if method in METHODS else ()
    return (*papers, *source_note(study.parameters.get("source")).citations)
