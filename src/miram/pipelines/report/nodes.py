"""Nodes of the report pipeline."""

import logging
from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd

from miram.evaluation.results import Evaluation, one_policy, policy_of, words
from miram.mammography.crops.store import CropStore
from miram.models.methods import BASELINES, METHODS, choose_methods
from miram.reporting.facts.leaderboard import FINETUNED, leaderboard_table
from miram.reporting.facts.study import MethodResult, Study

log = logging.getLogger(__name__)

Metrics = dict[str, Any]


def build_leaderboard(
    finetuned_results: dict[str, Metrics],
    methods: Any,
    parameters: dict[str, Any],
    **evaluations: Evaluation,
) -> pd.DataFrame:
    """Put the metrics of all methods and hand-crafted baselines into one table.

    Args:
        finetuned_results: Metrics of fine-tuned encoders by method; those under other splits than
            the probes are left out, and those of methods without a probe.
        methods: Which methods the study is of; those without results are logged.
        parameters: All parameters of the run, which tell which methods `all` are.
        evaluations: `<method>_evaluation` of what there is.

    Raises:
        MiramError: The probes were evaluated under different splits.
    """
    metrics = {
        name.removesuffix("_evaluation"): found.metrics for name, found in evaluations.items()
    }
    asked = choose_methods(methods, parameters)
    for method in (name for name in asked if name not in metrics):
        log.warning(
            "%s has no evaluation and is missing from the leaderboard: kedro run --pipelines "
            "pretrain,probe --namespaces %s with the same options makes it",
            method,
            method,
        )
    policy = one_policy(metrics)
    tuned = {name: found for name, found in finetuned_results.items() if name in metrics}
    comparable = {name: one for name, one in tuned.items() if policy in (None, policy_of(one))}
    for method in sorted(set(tuned) - set(comparable)):
        log.warning(
            "%s was fine-tuned under %s, the probes were evaluated under %s: its fine-tuned "
            "metrics are left out; kedro run --pipeline finetune --namespaces %s makes them anew",
            method,
            words(policy_of(tuned[method])),
            words(policy) if policy else "none",
            method,
        )
    return leaderboard_table(metrics, comparable)


def write_report(**results: Any) -> tuple[str, dict[str, str], str, pd.DataFrame]:
    """Write all that a reader of the study wants, from what `gather_study` takes.

    Returns:
        A self-contained HTML page; the card of each method and the CLAIM 2024 checklist, in
        Markdown; and what each method costs beside what it achieved.
    """
    from miram.reporting.cards import claim_checklist, claim_markdown, model_card
    from miram.reporting.page import render_report
    from miram.reporting.sections.costs import cost_table

    study = gather_study(**results)
    costs = cost_table(study)
    cards = {name: model_card(study, name) for name in study.methods}
    page = render_report(replace(study, costs=costs), day=date.today())
    return page, cards, claim_markdown(claim_checklist(study)), costs


def gather_study(
    lesions: pd.DataFrame,
    ingest_audit: pd.DataFrame,
    crops: CropStore,
    splits: pd.DataFrame,
    leaderboard: pd.DataFrame,
    parameters: dict[str, Any],
    finetuned_results: dict[str, Metrics],
    attention_costs: pd.DataFrame | None,
    **results: Any,
) -> Study:
    """Put all that is known of a study together.

    `results` are `<method>_evaluation`, `_training_record` and `_features` of each evaluated
    method, and `<baseline>_evaluation`; `attention_costs` are those of the benchmark pipeline, if
    that was run. Fine-tuned metrics count if they are on the leaderboard.
    """
    evaluations = {
        name: results[f"{name}_evaluation"]
        for name in (*METHODS, *BASELINES)
        if f"{name}_evaluation" in results
    }
    methods = {
        name: MethodResult(
            **vars(results[f"{name}_training_record"]),
            **vars(evaluations[name]),
            features=results[f"{name}_features"],
        )
        for name in evaluations
        if name in METHODS
    }
    tuned = leaderboard.loc[leaderboard["protocol"] == FINETUNED, "method"].unique()
    return Study(
        lesions,
        ingest_audit,
        crops,
        splits,
        leaderboard,
        {**parameters, "methods": choose_methods(parameters["methods"], parameters)},
        methods,
        {name: one.predictions for name, one in evaluations.items() if name in BASELINES},
        fine_tuned={method: finetuned_results[method] for method in tuned},
        attention_costs=attention_costs,
    )
