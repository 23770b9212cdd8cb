"""How the main metric grows with the number of labeled patients."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure, Scatter

from miram.reporting.charts.drawing import MARGIN, context, error_bars, legend_below
from miram.reporting.facts.findings import study_findings
from miram.reporting.facts.study import MethodResult, Study, joined
from miram.reporting.facts.words import Table, interval
from miram.reporting.sections.section import Section
from miram.reporting.styles import MAIN_METRICS, method_style, metric_label


class LabelEfficiency(Section):
    """Curves over the number of training patients, where they were measured."""

    title = "Label efficiency"
    template = "label_efficiency.html"

    def applies(self, study: Study) -> bool:
        """Whether it was measured."""
        return not joined(study.methods, "label_efficiency").empty

    def data(self, study: Study) -> dict[str, Any]:
        """Every task that was measured with its table, and the charts."""
        views, charts = [], {}
        shares = joined(study.methods, "label_efficiency")["share"].nunique()
        for place, finding in enumerate(study_findings(study)):
            rows = label_rows(study.methods, finding.task)
            if rows.empty:
                continue
            chart = f"labels-{place}"
            charts[chart] = label_figure(rows, finding.drawn)
            views.append({"finding": finding, "chart": chart, "table": label_table(rows)})
        return {
            "views": views,
            "charts": charts,
            "without_draws": tasks_without_draws(study.methods),
            "line": f"Probes trained on {shares} shares of the training patients",
        }


def label_rows(methods: Mapping[str, MethodResult], task: str) -> pd.DataFrame:
    """Main metric by method and share of the training patients; empty where it was not measured.

    A share with no draw that held two classes has no row.
    """
    table = joined(methods, "label_efficiency")
    return table[(table["task"] == task) & table["metric"].isin(MAIN_METRICS)]


def tasks_without_draws(methods: Mapping[str, MethodResult]) -> list[str]:
    """Tasks that were measured, but had at no share a draw to learn from."""
    tasks = dict.fromkeys(joined(methods, "label_efficiency")["task"])
    return [str(task) for task in tasks if label_rows(methods, str(task)).empty]


def label_figure(rows: pd.DataFrame, shown: Collection[str]) -> Figure:
    """Draw the rows of `label_rows` over the number of training patients.

    Methods that are not `shown` are pale lines behind the others, without their spread.
    """
    figure = Figure()
    by_method = {str(method): here for method, here in rows.groupby("method", sort=False)}
    for method in sorted(by_method, key=lambda name: name in shown):
        figure.add_trace(_curve(method, by_method[method], shown=method in shown))
    patients = rows.drop_duplicates("share").sort_values("share")["training_patients"]
    figure.update_xaxes(
        type="log",
        title="training patients (logarithmic)",
        tickvals=patients.tolist(),
        ticktext=[f"{value:.0f}" for value in patients],
    )
    figure.update_yaxes(title=metric_label(rows["metric"].iloc[0]))
    return figure.update_layout(
        showlegend=True,
        legend=legend_below(0.25),
        margin=MARGIN,
        height=440,
    )


def label_table(rows: pd.DataFrame) -> Table:
    """The rows of `label_rows` with the data of training and evaluation."""
    return Table.of(
        {
            "Method": rows["method"],
            "Share": (100 * rows["share"]).map("{:g} %".format),
            "Training patients": map(round, rows["training_patients"]),
            "Training lesions": map(round, rows["training_lesions"]),
            "Estimate": rows["estimate"],
            "95 % of draws": map(_spread, rows.itertuples()),
            "Draws": rows["draws"].astype(int),
            "Lesions evaluated": rows["lesions"].astype(int),
            "Patients evaluated": rows["patients"].astype(int),
        }
    )


def _spread(row: Any) -> str:
    return "one draw" if row.draws < 2 else interval(row.lower, row.upper)


def _curve(method: str, rows: pd.DataFrame, *, shown: bool) -> Scatter:
    style = method_style(method)
    return Scatter(
        x=rows["training_patients"].tolist(),
        y=rows["estimate"].round(4).tolist(),
        error_y=error_bars(rows.round(4), thickness=1, width=3, visible=shown),
        mode="lines+markers" if shown else "lines",
        marker={"symbol": style.symbol, "size": 8},
        name=method,
        **context(style, shown=shown),
        text=[
            f"{row.estimate:.3f} ({interval(row.lower, row.upper)})<br>{row.training_patients:.0f} "
            f"training patients, {row.draws:.0f} draws"
            for row in rows.itertuples()
        ],
        hovertemplate="%{text}<extra>" + method + "</extra>",
    )
