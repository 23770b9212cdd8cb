"""Nodes of the report pipeline."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from miram.evaluation.comparability import one_policy, policy_of, under, words
from miram.mammography.crops.store import CropStore
from miram.models.methods import BASELINES, METHODS
from miram.reporting.facts.leaderboard import FINETUNED, leaderboard_table
from miram.reporting.facts.study import MethodResult, Study

log = logging.getLogger(__name__)

TABLES = ("predictions", "calibration", "subgroups", "label_efficiency", "features")

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
else:
    Figure = Any


def build_leaderboard(
    finetuned_results: dict[str, dict[str, Any]], **metrics: dict[str, Any]
) -> pd.DataFrame:
    """Put the metrics of all methods and hand-crafted baselines into one table.

    Args:
        finetuned_results: Metrics of fine-tuned encoders by method; those under other splits than
            the probes are left out.
        metrics: Metrics by method.

    Raises:
        MiramError: The probes were evaluated under different splits.
    """
    policy = one_policy(metrics)
    fine_tuned = under(policy, finetuned_results)
    for method in sorted(set(finetuned_results) - set(fine_tuned)):
        log.warning(
            "%s was fine-tuned under %s, the probes were evaluated under %s: its fine-tuned "
            "metrics are left out; kedro run --pipeline finetune --namespaces %s makes them anew",
            method,
            words(policy_of(finetuned_results[method])),
            words(policy) if policy else "none",
            method,
        )
    return leaderboard_table(metrics, fine_tuned)


def draw_leaderboard(leaderboard: pd.DataFrame) -> Figure:
    """Draw every method's main metric with its interval."""
    from miram.reporting.sections.leaderboard import leaderboard_figure

    return leaderboard_figure(leaderboard)


def build_report(costs: pd.DataFrame, **results: Any) -> str:
    """Write the page that shows the whole study.

    Args:
        costs: Table of `weigh_costs`.
        results: As `gather_study`.

    Returns:
        A self-contained HTML page.
    """
    from miram.reporting.page import render_report

    return render_report(replace(gather_study(**results), costs=costs))


def write_cards(**results: Any) -> tuple[str, ...]:
    """Write the checklist of the study and the model card of each method.

    Args:
        results: As `gather_study`.

    Returns:
        The CLAIM 2024 checklist, then the card of each method, in Markdown.
    """
    from miram.reporting.cards import claim_checklist, claim_markdown, model_card

    study = gather_study(**results)
    cards = (model_card(study, name, one.subgroups) for name, one in study.methods.items())
    return claim_markdown(claim_checklist(study)), *cards


def weigh_costs(**results: Any) -> tuple[pd.DataFrame, Figure]:
    """Put what each method costs beside what it achieved.

    Args:
        results: As `gather_study`.

    Returns:
        A table, and its chart.
    """
    from miram.reporting.sections.costs import cost_figure, cost_table

    table = cost_table(gather_study(**results))
    return table, cost_figure(table)


def gather_study(
    lesions: pd.DataFrame,
    ingest_audit: pd.DataFrame,
    crops: CropStore,
    splits: pd.DataFrame,
    leaderboard: pd.DataFrame,
    parameters: dict[str, Any],
    finetuned_results: dict[str, dict[str, Any]],
    **results: Any,
) -> Study:
    """Put all that is known of a study together.

    Args:
        lesions: The lesion table.
        ingest_audit: What ingestion left out or repaired.
        crops: The crop store.
        splits: The split that each lesion is in.
        leaderboard: All metrics.
        parameters: All parameters of the run.
        finetuned_results: Metrics of fine-tuned encoders by method; those that are not on the
            leaderboard are left out.
        results: Of each evaluated method `<method>_<name>` for the fields of `MethodResult`; a
            method without decoders has no reconstructions. Of each hand-crafted baseline
            `<baseline>_predictions`. Methods and baselines without results are left out.
    """
    methods = {
        method: MethodResult(
            history=results[f"{method}_history"],
            reconstructions=results.get(f"{method}_reconstructions", {}),
            metrics=results[f"{method}_metrics"],
            **{part: results[f"{method}_{part}"] for part in TABLES},
        )
        for method in METHODS
        if f"{method}_metrics" in results
    }
    predictions = {name: results.get(f"{name}_predictions") for name in BASELINES}
    tuned = leaderboard.loc[leaderboard["protocol"] == FINETUNED, "method"].unique()
    return Study(
        lesions,
        ingest_audit,
        crops,
        splits,
        leaderboard,
        parameters,
        methods,
        {name: found for name, found in predictions.items() if found is not None},
        fine_tuned={method: finetuned_results[method] for method in tuned},
    )
