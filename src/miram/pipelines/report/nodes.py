"""Nodes of the report pipeline."""

import logging
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
    """Put the figures of all methods and anchors into one table.

    Args:
        finetuned_results: Metrics of fine-tuned encoders by method; those under other splits
            the probes are left out.
        metrics: Figures by method.

    Raises:
        MiramError: The probes were judged under different splits.
    """
    policy = one_policy(metrics)
    fine_tuned = under(policy, finetuned_results)
    for method in sorted(set(finetuned_results) - set(fine_tuned)):
        log.warning(
            "%s was fine-tuned under %s, the probes were judged under %s: its fine-tuned figures "
            "are left out; kedro run --pipeline finetune --namespaces %s makes them anew",
            method,
            words(policy_of(finetuned_results[method])),
            words(policy) if policy else "none",
            method,
        )
    return leaderboard_table(metrics, fine_tuned)


def draw_leaderboard(leaderboard: pd.DataFrame) -> Figure:
    """Draw every method's main figure with its interval.

    Args:
        leaderboard: Table of `build_leaderboard`.
    """
    from miram.reporting.charts.training import leaderboard_figure

    return leaderboard_figure(leaderboard)


def build_report(costs: pd.DataFrame, **results: Any) -> str:
    """Write the page that shows the whole study.

    Args:
        costs: Table of `weigh_costs`.
        results: As `gather_study`.

    Returns:
        A self-contained HTML page.
    """
    from miram.reporting.page.page import render_report

    return render_report(gather_study(**results), costs)


def write_cards(**results: Any) -> tuple[str, ...]:
    """Write the checklist of the study and the model card of each method.

    Args:
        results: As `gather_study`.

    Returns:
        The CLAIM 2024 checklist, then the card of each method, in Markdown.
    """
    from miram.reporting.cards.claim import claim_checklist, claim_markdown
    from miram.reporting.cards.model_card import model_card

    study = gather_study(**results)
    cards = (model_card(study, method, results[f"{method}_subgroups"]) for method in METHODS)
    return claim_markdown(claim_checklist(study)), *cards


def weigh_costs(**results: Any) -> tuple[pd.DataFrame, Figure]:
    """Put what each method costs beside what it achieved.

    Args:
        results: As `gather_study`.

    Returns:
        A table, and its chart.
    """
    from miram.reporting.facts.cost import cost_figure, cost_table

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
        splits: Which lesion was on which side.
        leaderboard: All figures.
        parameters: All parameters of the run.
        finetuned_results: Metrics of fine-tuned encoders by method, those on the
            more.
        results: Of each method `<method>_<name>` for every field of `MethodResult`; a method
            without decoders has no reconstructions. Of each anchor `<anchor>_predictions`.
    """
    methods = {
        method: MethodResult(
            history=results[f"{method}_history"],
            reconstructions=results.get(f"{method}_reconstructions", {}),
            metrics=results[f"{method}_metrics"],
            **{part: results[f"{method}_{part}"] for part in TABLES},
        )
        for method in METHODS
    }
    anchors = {anchor: results[f"{anchor}_predictions"] for anchor in BASELINES}
    tuned = leaderboard.loc[leaderboard["protocol"] == FINETUNED, "method"].unique()
    return Study(
        lesions,
        ingest_audit,
        crops,
        splits,
        leaderboard,
        parameters,
        methods,
        anchors,
        fine_tuned={method: finetuned_results[method] for method in tuned},
    )
