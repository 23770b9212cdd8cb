"""Answers about model, training and evaluation: items 22 to 34 of CLAIM 2024."""

from typing import Any

from miram.configuration import listed as as_list
from miram.provenance import git_commit, versions
from miram.reporting.cards.claim_answer import Answer, answered, author, not_applicable
from miram.reporting.charts.styles import MAIN_METRICS, metric_direction, metric_label
from miram.reporting.facts.methods import (
    assessment_config,
    exposure,
    file_name,
    is_trained,
    method_block,
    told_settings,
    unlabeled_crops,
)
from miram.reporting.facts.seeds import beside_intervals, over_seeds
from miram.reporting.facts.settings import plain
from miram.reporting.facts.splits import split_facts
from miram.reporting.facts.study import Study
from miram.reporting.facts.tables import most_repeats, most_seeds, training_table
from miram.reporting.facts.words import counted, listed


def model(study: Study) -> dict[int, Answer]:
    """Items 22 to 24: model, software, initialization."""
    return {22: _architecture(study), 23: answered(_software()), 24: _initialization(study)}


def training(study: Study) -> dict[int, Answer]:
    """Items 25 to 27: training, choice of the final model, ensembles."""
    config = assessment_config(study).linear_probe
    features = plain(study.parameters.get("features", {}))
    kept = "The weights"
    if plain(study.parameters.get("training", {})).get("ema_decay"):
        kept = "The moving averages of the weights"
    how = (
        "Scores of a lesion come from one encoder and one probe; under cross-validation, from "
        "those of its fold."
    )
    means, several = over_seeds(study.methods), most_seeds(study.methods) > 1
    if means:
        how += f" Figures are {means}, each judged by its own scores: no scores were averaged."
    if features.get("symmetries"):
        combined = answered(
            f"{how} Features are averaged over the 8 flips and transpositions of an image."
        )
    else:
        combined = not_applicable(f"Nothing was combined. {how}")
    return {
        25: _training(study),
        26: answered(
            f"{kept} after the last epoch were kept; lesions that are judged chose nothing. "
            f"{'Where one model is wanted, it is that of the first seed. ' if several else ''}"
            f"The penalty of the probe was chosen among {len(config.regularization)} values by "
            f"{config.inner_folds}-fold cross-validation, by patient, on lesions it learned from."
        ),
        27: combined,
    }


def evaluation(study: Study) -> dict[int, Answer]:
    """Items 28 to 34: figures, statistics, robustness, internal and external testing."""
    facts = split_facts(study.splits)
    where = "the data set's own test part" if facts.strategy == "official" else "folds by patient"
    judged = f"On {where}, {counted(facts.judged, 'patient')} of the same source. "
    return {
        28: _figures(study),
        29: answered(_statistics(study)),
        30: author(
            "What was varied (seeds, settings, scanners, noise), and what came of it.",
            f"The run varied the method ({listed(study.methods)}){_seeds_varied(study)}.",
        ),
        31: not_applicable("The run applied no method of explanation to the model's answers."),
        32: answered(judged + _exposures(study)),
        33: author(
            "Testing on data of another origin, or why there was none.",
            "The run used data of one source and tested on no other.",
        ),
        34: author("Registry and number, or that this is no clinical trial."),
    }


def _seeds_varied(study: Study) -> str:
    seeds, repeats = most_seeds(study.methods) > 1, most_repeats(study.methods) > 1
    varied = [*(["the seed"] if seeds else []), *(["the folds"] if repeats else [])]
    told = f" and {' and '.join(varied)}: figures are {over_seeds(study.methods)}" if varied else ""
    return told if seeds else f"{told}, not the seed"


def _exposures(study: Study) -> str:
    """What the encoders had seen of the judged patients, alike ones together."""
    told: dict[str, list[str]] = {}
    for method in study.methods:
        told.setdefault(exposure(study, method), []).append(method)
    return " ".join(f"{listed(methods)}: {text}" for text, methods in told.items())


def _architecture(study: Study) -> Answer:
    encoder = told_settings(study.parameters.get("encoder", {}))
    kinds = {name: method_block(study, name).get("kind") for name in study.methods}
    if not encoder:
        return author("The model: inputs, layers, outputs.", "The run's parameters do not tell.")
    told = listed(f"{name} {value}" for name, value in encoder.items())
    methods = listed(f"{name} ({kind or 'untold'})" for name, kind in kinds.items())
    features = listed(
        f"{name} {value}"
        for name, value in told_settings(study.parameters.get("features", {})).items()
    )
    return answered(
        f"Encoder, a model of timm: {told}. Methods: {methods}; their settings stand in the "
        f"report. Output: features ({features}), read by a logistic regression."
    )


def _software() -> str:
    names = listed(f"{name} {version}" for name, version in versions().items())
    return (
        f"{names}; code {git_commit() or 'not a git checkout'}. These were in use when the "
        "checklist was written; the header of each encoder names those of its training. The "
        "hardware is not recorded."
    )


def _initialization(study: Study) -> Answer:
    settings: dict[str, Any] = plain(study.parameters.get("training", {}))
    if "seed" not in settings:
        return author("How the parameters were initialized.", "The run's parameters do not tell.")
    start = (settings.get("initialization") or {}).get("checkpoint")
    weights = "a checkpoint that the header of each encoder names" if start else "random weights"
    own = {
        name: file_name(str(block["pretrained"]))
        for name in study.methods
        if (block := method_block(study, name)).get("pretrained")
    }
    others = f" Pretrained elsewhere: {listed(own)}." if own else ""
    seeds = as_list(settings.get("seeds")) or [settings["seed"]]
    each = "seed" if len(seeds) == 1 else "each method once with every one of the seeds"
    return answered(f"From {weights}, {each} {listed(seeds)}.{others}")


def _training(study: Study) -> Answer:
    settings = told_settings(study.parameters.get("training", {}))
    trained = {name: part for name, part in study.methods.items() if is_trained(study, name)}
    if not trained:
        return not_applicable("Nothing was trained.")
    lengths = "; ".join(
        f"{row[0]}: {row[1]} epochs, {row[2]} steps" for row in training_table(trained).rows
    )
    done = f"Length: {lengths}. Shown in pretraining: {unlabeled_crops(study)}."
    if not settings:
        return author("Hyperparameters, augmentation, objective.", done)
    told = listed(f"{name} {value}" for name, value in settings.items())
    return answered(
        f"{done} Shared settings: {told}. What a method sets for itself, its objective among it, "
        "stands in the report."
    )


def _figures(study: Study) -> Answer:
    names = list(dict.fromkeys(study.leaderboard["metric"]))
    if not names:
        return author("Figures of performance.", "No task could be evaluated.")
    told = listed(f"{metric_label(name)} ({metric_direction(name)} is better)" for name in names)
    main = listed(metric_label(name) for name in names if name in MAIN_METRICS)
    return answered(
        f"{told}. Methods are ranked by {main}. Accuracy, balanced accuracy and F1 take the most "
        "probable class."
    )


def _statistics(study: Study) -> str:
    config = assessment_config(study)
    text = (
        "95 % percentile intervals of a bootstrap over patients with all their lesions, "
        f"{config.bootstrap_draws} draws. {beside_intervals(study.methods)}"
    )
    compared = study.compared(config.comparison)
    if config.comparison.reference in compared and len(study.methods) > 1:
        text += (
            f" Methods are compared with {config.comparison.reference} by a paired bootstrap over "
            "patients, two-sided, corrected over the methods of a task by Holm."
        )
    return text
