"""Nodes of the report pipeline."""

import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd

from miram.evaluation.comparability import one_policy, policy_of, under, words
from miram.evaluation.results import Evaluation
from miram.mammography.crops.store import CropStore
from miram.models.methods import BASELINES, METHODS, choose_methods
from miram.reporting.facts.leaderboard import FINETUNED, leaderboard_table
from miram.reporting.facts.study import MethodResult, Study

log = logging.getLogger(__name__)

Metrics = dict[str, Any]


def build_leaderboard(
    finetuned_results: dict[str, Metrics], methods: Any, **evaluations: Evaluation
) -> pd.DataFrame:
    """Put the metrics of all methods and baselines into one table.

    Args:
        finetuned_results: Metrics of fine-tuned encoders by method; those under other splits
            than the probes are left out.
        methods: Which methods the study is of; those without results are logged.
        evaluations: `<method>_evaluation` of what there is.

    Raises:
        MiramError: The probes were evaluated under different splits.
    """
    metrics = {
        name.removesuffix("_evaluation"): found.metrics for name, found in evaluations.items()
    }
    for method in (name for name in choose_methods(methods) if name not in metrics):
        log.warning(
            "%s has no evaluation and is missing from the leaderboard: kedro run --pipelines "
            "pretrain,probe --namespaces %s makes it",
            method,
            method,
        )
    policy = one_policy(metrics)
    fine_tuned = under(policy, _of(finetuned_results, metrics))
    for method in sorted(set(_of(finetuned_results, metrics)) - set(fine_tuned)):
        log.warning(
            "%s was fine-tuned under %s, but the probes were evaluated under %s: its fine-tuned "
            "metrics are left out; kedro run --pipeline finetune --namespaces %s makes them anew",
            method,
            words(policy_of(finetuned_results[method])),
            words(policy) if policy else "none",
            method,
        )
    return leaderboard_table(metrics, fine_tuned)


def write_report(**results: Any) -> tuple[str, dict[str, str], str, pd.DataFrame]:
    """Write all that a reader of the study wants.

    Args:
        results: As `gather_study`.

    Returns:
        A self-contained HTML page; the card of each method and the CLAIM 2024 checklist, in
        Markdown; and what each method costs beside what it achieved.
    """
    from miram.reporting.cards.claim import claim_checklist, claim_markdown
    from miram.reporting.cards.model_card import model_card
    from miram.reporting.facts.cost import cost_table
    from miram.reporting.page.page import render_report

    study = gather_study(**results)
    costs = cost_table(study)
    cards = {
        name: model_card(study, name, result.subgroups) for name, result in study.methods.items()
    }
    return render_report(study, costs), cards, claim_markdown(claim_checklist(study)), costs


def gather_study(
    lesions: pd.DataFrame,
    ingest_audit: pd.DataFrame,
    crops: CropStore,
    splits: pd.DataFrame,
    leaderboard: pd.DataFrame,
    parameters: dict[str, Any],
    finetuned_results: dict[str, Metrics],
    **results: Any,
) -> Study:
    """Put all that is known of a study together.

    Args:
        lesions: The lesion table.
        ingest_audit: What ingestion left out or repaired.
        crops: The crop store.
        splits: The split of each lesion.
        leaderboard: All metrics.
        parameters: All parameters of the run.
        finetuned_results: Metrics of fine-tuned encoders by method; those on the leaderboard
            are reported.
        results: `<method>_evaluation`, `_training_record` and `_features` of the methods that
            there are, and `<baseline>_evaluation`.
    """
    methods = {
        method: MethodResult(
            **vars(results[f"{method}_training_record"]),
            **vars(results[f"{method}_evaluation"]),
            features=results[f"{method}_features"],
        )
        for method in METHODS
        if f"{method}_evaluation" in results
    }
    tuned = leaderboard.loc[leaderboard["protocol"] == FINETUNED, "method"].unique()
    return Study(
        lesions,
        ingest_audit,
        crops,
        splits,
        leaderboard,
        {**parameters, "methods": choose_methods(parameters["methods"])},
        methods,
        {
            name: results[f"{name}_evaluation"].predictions
            for name in BASELINES
            if f"{name}_evaluation" in results
        },
        fine_tuned={method: finetuned_results[method] for method in tuned},
    )


def _of(results: Mapping[str, Metrics], metrics: Mapping[str, Metrics]) -> dict[str, Metrics]:
    """Results of the methods that have metrics of a probe."""
    return {name: found for name, found in results.items() if name in metrics}
