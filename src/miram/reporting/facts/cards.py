"""What the CLAIM checklist and the model cards say of a study, as flat facts for their templates.

Values are numbers, tables, texts and lists of texts; the sentences around them are in
`templates/claim.yaml` and `templates/model_card.md`.
"""

from functools import lru_cache
from typing import Any

import pandas as pd

from miram.configuration import listed as as_list
from miram.evaluation.predictions import task_scores
from miram.evaluation.statistics.subgroups import MIN_PATIENTS
from miram.mammography.sources import source_note
from miram.models.methods import METHODS, SUPERVISED
from miram.models.methods.backbone import TimmBackboneConfig
from miram.models.pixels import FLOOR, Pixels
from miram.provenance import git_commit, versions
from miram.reporting.facts import methods as of_methods
from miram.reporting.facts.data import data_facts, left_out, skipped_parts, split_facts
from miram.reporting.facts.findings import RANDOM, majority_answer
from miram.reporting.facts.limits import RESEARCH_ONLY, method_limits, study_limits
from miram.reporting.facts.methods import is_trained, method_block, plain
from miram.reporting.facts.study import Study, joined
from miram.reporting.facts.words import Table, counted, listed, number
from miram.reporting.styles import MAIN_METRICS, metric_direction, metric_label

_CLINICAL = ("pathology", "abnormality_type", "density", "assessment", "subtlety", "view")
_LABELS = {  # of a lesion, by the type of abnormality that they apply to
    "": ("laterality", *_CLINICAL),
    "mass": ("mass_shape", "mass_margins"),
    "calcification": ("calc_type", "calc_distribution"),
}


@lru_cache(maxsize=1)
def study_facts(study: Study) -> dict[str, Any]:
    """The facts that the checklist and all cards of a study share, computed once."""
    return {
        **_of_the_data(study),
        **_of_the_methods(study),
        **_of_the_evaluation(study),
        "limits": [
            *study_limits(study),
            *(f"{name}: {text}" for name in study.methods for text in method_limits(study, name)),
        ],
        "commit": git_commit(),
        "versions": versions(),
        "research_only": RESEARCH_ONLY,
    }


def _of_the_data(study: Study) -> dict[str, Any]:
    split, data = split_facts(study.splits), data_facts(study)
    lost = [row for row in left_out(study).rows if row[3] == "left out"]
    parts = study.splits[["lesion_id", "split"]].merge(study.lesions, on="lesion_id")
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
        "shown": of_methods.unlabeled_crops(study),
        "saw_images": of_methods.saw_images(study),
        "held_out": [
            name
            for name in study.methods
            if name != SUPERVISED and of_methods.has_encoder_per_fold(study, name)
        ],
        "lost": [f"{row[0]} {row[4]}" + f" ({row[1]})" * bool(row[1]) for row in lost],
        "missing_values": _missing_values(study.lesions),
        "characteristics": [
            f"{part}; {_characteristics(parts[parts['split'] == part.name])}."
            for part in split.parts
        ],
    }


def _of_the_methods(study: Study) -> dict[str, Any]:
    training, features = _parameters(study, "training"), _parameters(study, "features")
    trained = {name: one for name, one in study.methods.items() if is_trained(study, name)}
    blocks = {name: method_block(study, name) for name in study.methods}
    seeds = as_list(training.get("seeds")) or [training.get("seed")]
    exposures: dict[str, list[str]] = {}
    for method in study.methods:
        exposures.setdefault(of_methods.exposure(study, method), []).append(method)
    return {
        "methods": list(study.methods),
        "kinds": [f"{name} ({block.get('kind') or 'unknown'})" for name, block in blocks.items()],
        "encoder": _pairs(_parameters(study, "encoder")),
        "features": _pairs(features),
        "training": _pairs(training),
        "seeds": seeds if "seed" in training else [],
        "start": (training.get("initialization") or {}).get("checkpoint"),
        "pretrained": [
            f"{name} {of_methods.file_name(str(block['pretrained']))}"
            for name, block in blocks.items()
            if block.get("pretrained")
        ],
        "lengths": [
            f"{row[0]}: {row[1]} epochs, {row[2]} steps"
            for row in of_methods.training_table(trained).rows
        ],
        "averaged": bool(training.get("ema_decay")),
        "symmetries": features.get("symmetries") == 8,
        "exposures": [f"{listed(methods)}: {text}" for text, methods in exposures.items()],
    }


def _of_the_evaluation(study: Study) -> dict[str, Any]:
    main = study.main_metrics
    tasks = {
        task: found
        for one in study.methods.values()
        for task, found in one.metrics["tasks"].items()
    }
    names = list(dict.fromkeys(study.leaderboard["metric"]))
    diagnostic = study.probes[study.probes["metric"] == "sensitivity_at_90_specificity"]
    highest = main.sort_values("estimate", ascending=False, kind="stable").drop_duplicates("task")
    return {
        "evaluated": [f"{task} {_sizes(found)}" for task, found in tasks.items()],
        "task_classes": [f"{task} ({', '.join(one['classes'])})" for task, one in tasks.items()],
        "callbacks": {one["without_callback"] for one in tasks.values()},
        "skipped": [
            f"{task}, {what}, {counted(lesions, 'lesion')}: {why}"
            for task, what, lesions, why in skipped_parts(study.methods).rows
        ],
        "config": study.assessment,
        "runs": of_methods.most_runs(study.methods),
        "over_runs": of_methods.over_runs(study.methods),
        "beside_intervals": of_methods.beside_intervals(study.methods),
        "metrics": [f"{metric_label(name)} ({metric_direction(name)} is better)" for name in names],
        "main_metrics": [metric_label(name) for name in names if name in MAIN_METRICS],
        "performance": _by_task(main),
        "diagnostic": _by_task(diagnostic),
        "widths": [
            f"{row.task} {number(row.upper - row.lower)} ({counted(row.patients, 'patient')})"
            for row in highest.itertuples()
        ],
        "compared": study.has_comparisons(),
    }


def _parameters(study: Study, group: str) -> dict[str, Any]:
    found: dict[str, Any] = plain(study.parameters.get(group, {}))
    return found


def _sizes(found: dict[str, Any]) -> str:
    return f"{counted(found['lesions'], 'lesion')} of {counted(found['patients'], 'patient')}"


def _pairs(settings: Any) -> list[str]:
    return [f"{name} {value}" for name, value in of_methods.flatten(settings).items()]


def _missing_values(lesions: pd.DataFrame) -> list[str]:
    found = []
    for kind, names in _LABELS.items():
        rows = lesions[lesions["abnormality_type"].eq(kind).fillna(False)] if kind else lesions
        missing = rows[list(names)].isna().sum()
        found += [f"{name} {count} of {len(rows)}" for name, count in missing.items() if count]
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


def _by_task(table: pd.DataFrame) -> dict[str, list[dict[Any, Any]]]:
    groups = table.groupby("task", sort=False)
    return {str(task): rows.to_dict("records") for task, rows in groups}


def encoder_facts(study: Study, method: str) -> dict[str, Any]:
    """What a card says of its method, beside the facts of the study."""
    result, block, known = study.methods[method], method_block(study, method), METHODS.get(method)
    subgroups = joined({method: result}, "subgroups")
    return {
        "method": method,
        "kind": block.get("kind"),
        "summary": known.summary if known and known.kind == block.get("kind") else "",
        "papers": known.papers if known else (),
        "trained": is_trained(study, method),
        "supervised": method == SUPERVISED,
        "encoder_per_fold": of_methods.has_encoder_per_fold(study, method),
        "labels_of": block.get("task"),
        "exposure": of_methods.exposure(study, method),
        "start": of_methods.borrowed_weights(study, method),
        "trainings": of_methods.training_table({method: result}),
        "settings": _settings(study, method),
        "tasks": {task: _task_facts(study, method, task) for task in result.metrics["tasks"]},
        "subgroups": _by_task(subgroups[subgroups["metric"].isin(MAIN_METRICS)]),
        "min_patients": MIN_PATIENTS,
        "left_out": skipped_parts({method: result}),
        "over_runs": of_methods.over_runs({method: result}),
        "limits": [*method_limits(study, method), *study_limits(study)],
        "input": _encoder_input(study, method),
        "pooling": [
            f"{name} {listed(value) if isinstance(value, list) else value}"
            for name, value in _parameters(study, "features").items()
            if name != "batch_size" and value
        ],
    }


def _settings(study: Study, method: str) -> dict[str, Table]:
    own, shared = of_methods.method_table(study, [method]), of_methods.setting_tables(study)
    found = {name: shared[name] for name in of_methods.GROUPS if name in shared}
    return {"method": own, **found} if own.rows else found


def _task_facts(study: Study, method: str, task: str) -> dict[str, Any]:
    """The task's part of the metrics, its most frequent answer, and rows of other encoders."""
    result = study.methods[method]
    found = result.metrics["tasks"][task]
    scores = task_scores(result.predictions, task)
    answer, share = majority_answer(scores, found, study.assessment)
    board = study.main_metrics[study.main_metrics["task"] == task]
    others = [board[board["method"] == name] for name in (RANDOM, SUPERVISED) if name != method]
    return {
        **found,
        "runs": list(of_methods.runs_of(found)),
        "main": next(name for name in MAIN_METRICS if name in found["metrics"]),
        "majority_answer": answer,
        "majority": share,
        "beside": pd.concat([board[board["method"] == method], *others]).to_dict("records"),
    }


def _encoder_input(study: Study, method: str) -> dict[str, Any] | None:
    """The images that the encoder takes; None where the run's parameters do not say.

    Returns:
        timm's `name`; `channels` and `size` of an image; `standardized`, the code that standardizes
        `grey` levels in [0, 1]; `tokens`, 0 for a model that is read by its own pooled vector;
        `in_timm`, whether timm alone can make it.
    """
    block = method_block(study, method)
    own = block if block.get("kind") == "timm_backbone" else block.get("backbone")
    if (shared := of_methods.study_encoder(study)) is None:
        return None
    if own:
        backbone = TimmBackboneConfig.model_validate(own)
        return {
            "name": backbone.name,
            "channels": backbone.timm_arguments["in_chans"],
            "size": backbone.input_size,
            "standardized": _standardized(backbone.pixels or shared.standardization),
            "tokens": 0,
            "in_timm": True,
        }
    return {
        "name": shared.name,
        "channels": shared.channels,
        "size": shared.image_size,
        "standardized": _standardized(shared.standardization),
        "tokens": shared.grid_side**2,
        "in_timm": shared.attention.kind == "softmax",
    }


def _standardized(pixels: Pixels) -> str:
    if pixels.mean is None:
        return f"(grey - grey.mean()) / grey.std(correction=0).clamp_min({FLOOR})"
    return f"(grey - {pixels.mean}) / {pixels.deviation}"
