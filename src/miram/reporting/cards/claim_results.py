"""Answers about results, discussion and other information: items 37 to 44 of CLAIM 2024."""

import pandas as pd

from miram.provenance import git_commit
from miram.reporting.cards.claim_answer import Answer, answered, author
from miram.reporting.charts.styles import MAIN_METRICS, metric_label
from miram.reporting.facts.data_sources import source_note
from miram.reporting.facts.limits import RESEARCH_ONLY, method_limits, study_limits
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import interval, number

_DIAGNOSTIC = "sensitivity_at_90_specificity"


def performance(study: Study) -> dict[int, Answer]:
    """Items 37 to 39: performance, diagnostic performance, failures."""
    board = study.probes
    main = board[board["metric"].isin(MAIN_METRICS)]
    diagnostic = board[board["metric"] == _DIAGNOSTIC]
    figures = author("Figures of performance.", "No task could be evaluated.")
    if len(main):
        figures = answered(f"{_told(main)} All other figures stand in the leaderboard.")
    precision = author("Diagnostic performance and its precision.", "No binary task was asked.")
    if len(diagnostic):
        precision = answered(
            f"{_told(diagnostic)} The threshold is the one that gives this specificity on the "
            "lesions that are judged, which flatters."
        )
    return {
        37: figures,
        38: precision,
        39: author(
            "Which cases were answered wrongly, and why.",
            "The score of every lesion that was judged is kept in the predictions of each method.",
        ),
    }


def discussion(study: Study) -> dict[int, Answer]:
    """Items 40 and 41: limitations, implications."""
    own = [f"{name}: {text}" for name in study.methods for text in method_limits(study, name)]
    return {
        40: author(
            "What limits the conclusions beyond this.", " ".join([*study_limits(study), *own])
        ),
        41: author("What follows for practice.", RESEARCH_ONLY),
    }


def other(study: Study) -> dict[int, Answer]:
    """Items 42 to 44: protocol, availability, funding."""
    note = source_note(study.parameters.get("source"))
    return {
        42: author(
            "Where the study protocol can be read.",
            "The method: arXiv 2503.07157. All settings of the run stand in its report.",
        ),
        43: author(
            "Whether and where code, weights and data are available.",
            f"Code {git_commit() or 'not under version control here'}; data version "
            f"{study.crops.digest}; terms of the data: {note.terms}.",
        ),
        44: author("Funding and other support, and the part the funders played."),
    }


def _told(rows: pd.DataFrame) -> str:
    """Every row with its interval and numbers, by task."""
    texts = []
    for task, part in rows.groupby("task", sort=False):
        first = part.iloc[0]
        figures = "; ".join(
            f"{row.method} {number(row.estimate)} ({interval(row.lower, row.upper)})"
            for row in part.itertuples()
        )
        texts.append(
            f"{task}, {metric_label(first['metric'])} with 95 % interval on {first['lesions']} "
            f"lesions of {first['patients']} patients: {figures}."
        )
    return " ".join(texts)
