"""The CLAIM 2024 checklist of a study and the model card of an encoder, from one table of facts.

The texts are templates: `claim.yaml` with `claim.md`, and `model_card.md`.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from itertools import count
from typing import Any

import pandas as pd
import yaml
from huggingface_hub import EvalResult, ModelCardData
from numpy import isfinite

from miram.configuration import listed as as_list
from miram.errors import MiramError
from miram.evaluation.predictions import subgroup_metrics
from miram.evaluation.statistics.subgroups import MIN_PATIENTS
from miram.mammography.sources import source_note
from miram.models.backbone import TimmBackboneConfig
from miram.models.encoder import EncoderConfig
from miram.models.images import PIXEL_MEAN, PIXEL_STD
from miram.models.methods import METHODS, SUPERVISED
from miram.provenance import git_commit, versions
from miram.reporting.facts.data import data_facts, left_out, skipped_parts, split_facts
from miram.reporting.facts.findings import RANDOM, majority_answer
from miram.reporting.facts.limits import RESEARCH_ONLY, method_limits, study_limits
from miram.reporting.facts.methods import (
    beside_intervals,
    borrowed_weights,
    exposure,
    file_name,
    is_trained,
    method_block,
    method_table,
    most_runs,
    over_runs,
    plain,
    public_settings,
    runs_of,
    setting_tables,
    training_table,
    unlabeled_crops,
)
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import (
    Table,
    counted,
    listed,
    markdown_environment,
    number,
    with_interval,
)
from miram.reporting.styles import MAIN_METRICS, metric_direction, metric_label

_CLINICAL = ("pathology", "abnormality_type", "density", "assessment", "subtlety", "view")
_LABELS = {  # of a lesion, with the type of abnormality that one applies to
    **dict.fromkeys(("laterality", "view", "abnormality_type", "pathology"), ""),
    **dict.fromkeys(("density", "assessment", "subtlety"), ""),
    **dict.fromkeys(("mass_shape", "mass_margins"), "mass"),
    **dict.fromkeys(("calc_type", "calc_distribution"), "calcification"),
}
# Names of https://hf.co/metrics; other metrics keep their own.
_HUB_METRICS = {"auc": "roc_auc", "auc_macro": "roc_auc", "brier": "brier_score"}
_SETTINGS = ("encoder", "training", "rois", "splits", "features", "evaluation")


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
    environment, facts = markdown_environment(), study_facts(study)
    asked = (files("miram.reporting") / "templates/claim.yaml").read_text(encoding="utf-8")
    numbers = count(1)
    return [
        _item(
            next(numbers),
            part["section"],
            item.pop("asks"),
            **{key: environment.from_string(text).render(facts) for key, text in item.items()},
        )
        for part in yaml.safe_load(asked)
        for item in part["items"]
    ]


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


@lru_cache(maxsize=1)
def study_facts(study: Study) -> dict[str, Any]:
    """What the checklist and the cards say of a study, computed once.

    Returns:
        Data: `note` (`SourceNote`), `data` (`DataFacts`), `split` (`SplitFacts`), `digest`,
        `sha256`, `crop_size`, `crop_settings`, `bits`, `views`, `shown` in pretraining;
        `included`, `subsets`, `missing_values`, `characteristics` by split, and counts in words:
        `lesion_count`, `patient_count`, `shared`, `evaluated_count`. Methods: `methods`,
        `method_count`, `kinds`, `encoder`, `features`, `training`, `seeds`, `start`, `pretrained`,
        `lengths`, `averaged`, `symmetries`, `exposures`. Evaluation: `task_classes`, `callbacks`,
        `skipped`, `probe`, `draws`, `runs` and `over_runs`, `beside_intervals`, `one_model`,
        `metrics`, `main_metrics`, `performance`, `diagnostic`, `widths`, `compared`, `reference`.
        And `limits`, `commit`, `software`, `research_only`, and sentences for what is not known.
        Lists hold texts.
    """
    split, data, config = split_facts(study.splits), data_facts(study), study.assessment
    training = plain(study.parameters.get("training", {}))
    features = plain(study.parameters.get("features", {}))
    trained = {name: one for name, one in study.methods.items() if is_trained(study, name)}
    tasks = {task: found for one in study.methods.values() for task, found in _tasks(one).items()}
    names = list(dict.fromkeys(study.leaderboard["metric"]))
    blocks = {name: method_block(study, name) for name in study.methods}
    main, means = study.main_metrics, over_runs(study.methods)
    diagnostic = study.probes[study.probes["metric"] == "sensitivity_at_90_specificity"]
    lost = [row for row in left_out(study).rows if row[3] == "left out"]
    parts = study.splits[["lesion_id", "split"]].merge(study.lesions, on="lesion_id")
    seeds = as_list(training.get("seeds")) or [training.get("seed")]
    exposures: dict[str, list[str]] = {}
    for method in study.methods:
        exposures.setdefault(exposure(study, method), []).append(method)
    return {
        "note": source_note(study.source),
        "data": data,
        "split": split,
        "digest": study.crops.digest,
        "sha256": study.crops.info["sha256"]["crops.npy"],
        "crop_size": study.crops.image_size,
        "crop_settings": _pairs(study.crops.parameters),
        "bits": [f"{counted(n, 'mammogram')} of {bits} bits" for bits, n in data.bits.items()],
        "views": _shares(study.lesions["view"]),
        "shown": unlabeled_crops(study),
        "lesion_count": counted(data.lesions, "lesion"),
        "patient_count": counted(data.patients, "patient"),
        "shared": counted(split.shared, "patient"),
        "evaluated_count": counted(split.evaluated, "patient"),
        "included": (
            "Included: every lesion whose mammogram and whose outline or box were found and read: "
            f"{counted(data.lesions, 'lesion')} in {counted(data.mammograms, 'mammogram')} of "
            f"{counted(data.patients, 'patient')}. Left out, rows by reason: "
            f"{listed(f'{row[0]} {row[4]}' + f' ({row[1]})' * bool(row[1]) for row in lost)}."
        ),
        "subsets": (
            f"Lesion crops ({data.lesions}) and background patches ({data.backgrounds}) were used, "
            f"not whole mammograms; {counted(data.uncut, 'lesion')} of the table have no crop. "
            f"Evaluated by task: {listed(_evaluated(task, one) for task, one in tasks.items())}."
        ),
        "missing_values": _missing_values(study.lesions),
        "characteristics": [
            f"{part}; {_characteristics(parts[parts['split'] == part.name])}."
            for part in split.parts
        ],
        "methods": list(study.methods),
        "method_count": counted(len(study.methods), "method"),
        "kinds": [f"{name} ({block.get('kind') or 'unknown'})" for name, block in blocks.items()],
        "encoder": _pairs(study.parameters.get("encoder", {})),
        "features": _pairs(features),
        "training": _pairs(training),
        "seeds": seeds if "seed" in training else [],
        "start": (training.get("initialization") or {}).get("checkpoint"),
        "pretrained": [
            f"{name} {file_name(str(block['pretrained']))}"
            for name, block in blocks.items()
            if block.get("pretrained")
        ],
        "lengths": [
            f"{row[0]}: {row[1]} epochs, {row[2]} steps" for row in training_table(trained).rows
        ],
        "averaged": bool(training.get("ema_decay")),
        "symmetries": bool(features.get("symmetries")),
        "exposures": [f"{listed(methods)}: {text}" for text, methods in exposures.items()],
        "task_classes": [f"{task} ({', '.join(one['classes'])})" for task, one in tasks.items()],
        "callbacks": {one["without_callback"] for one in tasks.values()},
        "skipped": [
            f"{task}, {what}, {counted(lesions, 'lesion')}: {why}"
            for task, what, lesions, why in skipped_parts(study.methods).rows
        ],
        "probe": config.linear_probe,
        "draws": config.bootstrap_draws,
        "runs": most_runs(study.methods),
        "over_runs": means,
        "beside_intervals": beside_intervals(study.methods),
        "one_model": (
            "Scores of a lesion come from one encoder and one probe; under cross-validation, from "
            "those of its fold."
            + f" Metrics are {means}, each computed from its own scores: no scores were averaged."
            * bool(means)
        ),
        "metrics": [f"{metric_label(name)} ({metric_direction(name)} is better)" for name in names],
        "main_metrics": [metric_label(name) for name in names if name in MAIN_METRICS],
        "performance": _results_in_words(main),
        "diagnostic": _results_in_words(diagnostic),
        "widths": [
            f"{row.task} {number(row.upper - row.lower)} ({counted(row.patients, 'patient')})"
            for row in main.sort_values("estimate", ascending=False, kind="stable")
            .drop_duplicates("task")
            .itertuples()
        ],
        "compared": study.has_comparisons(),
        "reference": config.comparison.reference,
        "limits": [
            *study_limits(study),
            *(f"{name}: {text}" for name in study.methods for text in method_limits(study, name)),
        ],
        "commit": git_commit(),
        "software": [f"{name} {version}" for name, version in versions().items()],
        "research_only": RESEARCH_ONLY,
        "no_patients": "The images are synthetic: ",
        "no_task": "No task could be evaluated.",
        "unknown": "The run's parameters do not say.",
    }


def _tasks(result: Any) -> dict[str, Any]:
    found: dict[str, Any] = result.metrics["tasks"]
    return found


def _evaluated(task: str, found: dict[str, Any]) -> str:
    lesions, patients = counted(found["lesions"], "lesion"), counted(found["patients"], "patient")
    return f"{task} {lesions} of {patients}"


def _pairs(settings: Any) -> list[str]:
    return [f"{name} {value}" for name, value in public_settings(settings).items()]


def _missing_values(lesions: pd.DataFrame) -> list[str]:
    found = []
    for name, kind in _LABELS.items():
        rows = lesions[lesions["abnormality_type"].eq(kind).fillna(False)] if kind else lesions
        if missing := int(rows[name].isna().sum()):
            found.append(f"{name} {missing} of {len(rows)}")
    return found


def _characteristics(rows: pd.DataFrame) -> str:
    known = [name for name in _CLINICAL if rows[name].notna().any()]
    texts = [f"{name.replace('_', ' ')}: {_shares(rows[name])}" for name in known]
    return "; ".join(texts) or "no characteristics known"


def _shares(values: pd.Series) -> str:
    """The values of a column with their counts, missing ones last."""
    counts = values.dropna().astype(str).value_counts().sort_index()
    missing = int(values.isna().sum())
    texts = [f"{name} ({number_of})" for name, number_of in counts.items()]
    return listed([*texts, *[f"unknown ({missing})"] * bool(missing)])


def _results_in_words(board: pd.DataFrame) -> str:
    """Every row with its interval and numbers, by task."""
    texts = []
    for task, rows in board.groupby("task", sort=False):
        first = rows.iloc[0]
        results = "; ".join(
            f"{row['method']} {with_interval(row.to_dict())}" for _, row in rows.iterrows()
        )
        texts.append(
            f"{task}, {metric_label(first['metric'])} with 95 % interval on {first['lesions']} "
            f"lesions of {first['patients']} patients: {results}."
        )
    return " ".join(texts)


def model_card(study: Study, method: str, subgroups: pd.DataFrame | None = None) -> str:
    """Write the model card of one method's encoder.

    Args:
        study: The finished study.
        method: Name of a method of the study.
        subgroups: Table of `miram.evaluation.predictions.subgroup_metrics` for this method;
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
    facts = {**study_facts(study), **_method_facts(study, method, subgroups)}
    environment = markdown_environment()
    environment.filters["label"] = metric_label
    text = environment.get_template("model_card.md").render(facts)
    return f"---\n{card_data(study, method).to_yaml()}\n---\n\n{text}"


def _method_facts(study: Study, method: str, subgroups: pd.DataFrame | None) -> dict[str, Any]:
    """What a card says of its method, beside the facts of the study."""
    result, block = study.methods[method], method_block(study, method)
    if subgroups is None:
        subgroups = subgroup_metrics(
            result.predictions, study.lesions, result.metrics, study.assessment
        )
    features = plain(study.parameters.get("features", {}))
    return {
        "method": method,
        "what": _what(method, block.get("kind")),
        "papers": METHODS[method].papers if method in METHODS else (),
        "trained": is_trained(study, method),
        "supervised": method == SUPERVISED,
        "labels_of": block.get("task"),
        "exposure": exposure(study, method),
        "start": borrowed_weights(study, method),
        "trainings": training_table({method: result}),
        "settings": _settings(study, method),
        "tasks": {task: _task_facts(study, method, task) for task in _tasks(result)},
        "subgroups": {
            str(task): rows.to_dict("records")
            for task, rows in subgroups[subgroups["metric"].isin(MAIN_METRICS)].groupby("task")
        },
        "min_patients": MIN_PATIENTS,
        "left_out": skipped_parts({method: result}),
        "over_runs": over_runs({method: result}),
        "limits": [*method_limits(study, method), *study_limits(study)],
        "input": _encoder_input(study, method),
        "pooling": [
            f"{name} {listed(value) if isinstance(value, list) else value}"
            for name, value in features.items()
            if name != "batch_size" and value
        ],
        "versions": {**versions(), "code": git_commit() or "not a git checkout"},
    }


def _what(method: str, kind: str | None) -> str:
    if method in METHODS and kind == METHODS[method].kind:
        return METHODS[method].summary
    if kind == "timm_backbone":
        return "A timm model, used as it is. Nothing was trained on these data"
    if kind:
        return f"An encoder of method kind {kind}, configured by the study"
    return "An encoder; the run's parameters do not say how it was made"


def _settings(study: Study, method: str) -> dict[str, Table]:
    own = method_table(study.parameters, [method])
    shared = setting_tables(study.parameters, list(study.methods))
    found = {"method": own} | {name: shared[name] for name in _SETTINGS if name in shared}
    return {
        name: Table(table.columns, tuple((key, *map(file_name, rest)) for key, *rest in table.rows))
        for name, table in found.items()
        if table.rows
    }


def _task_facts(study: Study, method: str, task: str) -> dict[str, Any]:
    """The task's part of the metrics, its most frequent answer, and rows of other encoders."""
    found = study.methods[method].metrics["tasks"][task]
    answer, share = majority_answer(study, method, task)
    board = study.main_metrics[study.main_metrics["task"] == task]
    others = [board[board["method"] == name] for name in (RANDOM, SUPERVISED) if name != method]
    return {
        **found,
        "runs": list(runs_of(found)),
        "main": next(name for name in MAIN_METRICS if name in found["metrics"]),
        "majority_answer": answer,
        "majority": share,
        "beside": pd.concat([board[board["method"] == method], *others]).to_dict("records"),
    }


def _encoder_input(study: Study, method: str) -> dict[str, Any] | None:
    """What the encoder takes; None where the run's parameters do not say.

    Returns:
        timm's `name`; `channels` and `size` of an image; `mean` and `deviation` that standardize
        grey levels in [0, 1]; `tokens`, 0 for a model that is read by its own pooled vector.
    """
    block = method_block(study, method)
    own = block if block.get("kind") == "timm_backbone" else block.get("backbone")
    found: dict[str, Any] = {"mean": PIXEL_MEAN, "deviation": PIXEL_STD, "tokens": 0}
    try:
        if own:
            backbone = TimmBackboneConfig.model_validate(own)
            pixels = backbone.pixels
            return found | {
                "name": backbone.name,
                "channels": backbone.timm_arguments["in_chans"],
                "size": backbone.input_size,
                "mean": pixels.get("pixel_mean", PIXEL_MEAN),
                "deviation": pixels.get("pixel_std", PIXEL_STD),
            }
        shared = EncoderConfig.model_validate(plain(study.parameters.get("encoder", {})))
    except MiramError:
        return None
    return found | {
        "name": shared.name,
        "channels": shared.channels,
        "size": shared.image_size,
        "tokens": shared.grid_side**2,
    }


def card_data(study: Study, method: str) -> ModelCardData:
    """Describe an encoder to a hub.

    Every metric carries its interval and the numbers of lesions and patients in `args`; undefined
    metrics are left out, as hubs take numbers only.
    """
    note = source_note(study.source)
    trained = [] if not is_trained(study, method) else ["self-supervised"]
    tags = [
        *("timm", "mammography", "feature-extraction", "research-only"),
        *(["supervised"] if method == SUPERVISED else trained),
        *filter(None, [method_block(study, method).get("kind")]),
        *["synthetic-data"] * bool(note.synthetic),
    ]
    # Nobody has licensed the weights: what is known are the terms of the data.
    terms: dict[str, Any] = {
        "license": "other",
        "license_name": "terms-of-the-training-data",
        "license_link": note.terms_link,
    }
    borrowed = borrowed_weights(study, method)
    return ModelCardData(
        model_name=method,
        library_name="timm",
        pipeline_tag="image-feature-extraction",
        tags=tags,
        eval_results=_hub_results(study, method) or None,
        **({"license": "unknown"} if borrowed or not note.terms_link else terms),
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
        for task, found in _tasks(study.methods[method]).items()
        for name, values in found["metrics"].items()
        if isfinite([values[end] for end in ("estimate", "lower", "upper")]).all()
    ]
