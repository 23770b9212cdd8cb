"""All metrics of all methods: the chart of the main one, and the table."""

from typing import Any

import pandas as pd
from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from miram.mammography.phantom import PhantomConfig, phantom_ceiling
from miram.reporting.charts.drawing import (
    LEVEL_LINE,
    TEMPLATE,
    error_bars,
    panel_title,
    sentence,
)
from miram.reporting.facts.leaderboard import FINETUNED
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import with_interval
from miram.reporting.sections.section import Section
from miram.reporting.styles import (
    MAIN_METRICS,
    chance_level,
    method_style,
    metric_direction,
    metric_label,
)

_ROW_HEIGHT = 34  # pixels per method


class Leaderboard(Section):
    """The leaderboard, with filters and sorting by `report.js`."""

    title = "Leaderboard"
    template = "leaderboard.html"

    def data(self, study: Study) -> dict[str, Any]:
        """Rows with the words for their metrics, and the chart."""
        board = study.leaderboard
        main = [name for name in board["metric"].unique() if name in MAIN_METRICS]
        outside = (board["estimate"] < board["lower"]) | (board["estimate"] > board["upper"])
        return {
            "rows": [
                {
                    **{str(name): value for name, value in row.items()},
                    "label": metric_label(row["metric"]),
                    "better": metric_direction(row["metric"]),
                    "main": row["metric"] in MAIN_METRICS,
                }
                for row in board.to_dict("records")
            ],
            "outside": [metric_label(name) for name in board.loc[outside, "metric"].unique()],
            "tuned": bool(study.fine_tuned),
            "chances": sorted(
                {level for name in main if (level := chance_level(name)) is not None}
            ),
            "digest": study.crops.digest,
            "missing": study.missing,
            "ceiling": _ceiling(study),
            "charts": {"leaderboard-chart": leaderboard_figure(board)},
        }


def _ceiling(study: Study) -> float | None:
    """The best AUC that the phantom's pixels allow on the evaluated lesions; None for real data."""
    if study.source != "phantom" or "phantom" not in study.parameters:
        return None
    official = "test" in set(study.splits["split"])
    config = PhantomConfig.model_validate(study.parameters["phantom"])
    return phantom_ceiling(config, "test" if official else None)


def leaderboard_figure(leaderboard: pd.DataFrame) -> Figure:
    """Draw every method's main metric with its 95 % interval, one panel per task.

    Args:
        leaderboard: Table of `miram.reporting.facts.leaderboard.leaderboard_table`.
    """
    main = leaderboard[leaderboard["metric"].isin(MAIN_METRICS)]
    if main.empty:
        return sentence("No task could be evaluated.")
    groups = list(main.groupby("task", sort=False))
    figure = make_subplots(
        rows=len(groups),
        cols=1,
        shared_xaxes=True,
        subplot_titles=[panel_title(task, rows) for task, rows in groups],
        row_heights=[len(rows) + 1 for _, rows in groups],
        vertical_spacing=0.12 / len(groups),
    )
    for place, (_, rows) in enumerate(groups, start=1):
        for index in rows.index:
            figure.add_trace(_mark(rows.loc[[index]]), row=place, col=1)
        # The best on top: plotly counts upwards.
        figure.update_yaxes(autorange="reversed", automargin=True, row=place, col=1)
        if (chance := chance_level(rows["metric"].iloc[0])) is not None:
            figure.add_vline(x=chance, line=LEVEL_LINE, row=place, col=1)
    figure.update_xaxes(range=[0, 1])
    figure.update_xaxes(title="ROC AUC, 95 % interval", row=len(groups), col=1)
    # From the right, a title has the whole width of a narrow screen.
    figure.update_annotations(x=1, xanchor="right", font_size=13)
    rows_drawn = sum(len(rows) + 1.5 for _, rows in groups)
    return figure.update_layout(
        template=TEMPLATE,
        showlegend=False,
        height=int(100 + _ROW_HEIGHT * rows_drawn),
        margin={"t": 40, "r": 16, "b": 60, "l": 16},
    )


def _mark(rows: pd.DataFrame) -> Scatter:
    row = rows.iloc[0]
    style, tuned = method_style(row["method"]), row["protocol"] == FINETUNED
    return Scatter(
        x=rows["estimate"].tolist(),
        y=[f"{row['method']}, fine-tuned" if tuned else row["method"]],
        mode="markers",
        error_x=error_bars(rows),
        marker={"color": style.color, "symbol": style.symbol, "size": 10},
        name=row["method"],
        hovertemplate=f"%{{y}}: {with_interval(row.to_dict())}<extra></extra>",
    )
