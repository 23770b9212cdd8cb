"""What a method costs beside what it achieves.

The cost of training is that of one image in one step, counted by `miram.models.describe`; an
untrained method has none. The cost of use is separate: whatever the decoders, the encoder alone
reads a whole image, once.
"""

from typing import Any

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from miram.errors import MiramError
from miram.models.describe import describe, describe_encoder
from miram.models.methods.kinds import METHOD_KINDS
from miram.reporting.charts.drawing import LEVEL_LINE, MARGIN, error_bars, sentence, spread
from miram.reporting.facts.methods import is_trained, method_block, study_encoder
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import Table, counted, interval, known_numbers, with_interval
from miram.reporting.sections.section import Section
from miram.reporting.styles import chance_level, method_style, metric_label

_BOARD = ("method", "task", "metric", "estimate", "lower", "upper", "lesions", "patients")
_COSTS = ("parameters", "gmacs", "activation_mib", "encoding_gmacs")
COLUMNS = (*_BOARD, *_COSTS)
_PANEL_HEIGHT = 190  # pixels


class Costs(Section):
    """Main metric over the cost of a training step; absent where a study holds no costs."""

    title = "Cost and accuracy"
    template = "costs.html"

    def applies(self, study: Study) -> bool:
        """Whether costs were counted."""
        return study.costs is not None

    def data(self, study: Study) -> dict[str, Any]:
        """The table and its chart."""
        assert study.costs is not None
        gmacs = study.costs["gmacs"].dropna()
        line = f"{gmacs.min():.3g} to {gmacs.max():.3g} GMAC per image of a training step"
        return {
            "line": line if len(gmacs) else "No method has a known cost",
            "costs": cost_rows(study.costs),
            "charts": {"cost-chart": cost_figure(study.costs)},
        }


def cost_table(study: Study) -> pd.DataFrame:
    """Count what every method of a study costs, without running it, beside its main metric.

    Returns:
        `COLUMNS`, one row per task and method in the order of the leaderboard. The costs are
        missing for a method that is no encoder, or of which the run's parameters do not say
        enough: `parameters`, those that are trained; `gmacs`, 10^9 multiply-accumulate operations
        of the forward pass of a training step; `activation_mib`, what the step keeps for the
        backward pass, in MiB of float32; `encoding_gmacs`, as `gmacs` of encoding a whole image.
    """
    costs = pd.DataFrame(_method_costs(study), columns=["method", *_COSTS])
    return study.main_metrics.merge(costs, on="method", how="left")[list(COLUMNS)]


def _method_costs(study: Study) -> list[dict[str, Any]]:
    if (encoder := study_encoder(study)) is None:
        return []
    encodings: dict[str, float] = {}
    found = []
    for name in study.methods:
        try:
            method = METHOD_KINDS.model_validate(method_block(study, name))
        except MiramError:
            continue
        reader = str(method.encoder_facts(encoder)["timm"])
        if reader not in encodings:
            encodings[reader] = describe_encoder(method, encoder).macs / 1e9
        parts = describe(method, encoder) if is_trained(study, name) else []
        found.append(
            {
                "method": name,
                "parameters": sum(part.parameters for part in parts),
                "gmacs": sum(part.macs for part in parts) / 1e9,
                "activation_mib": sum(part.activation_bytes for part in parts) / 2**20,
                "encoding_gmacs": encodings[reader],
            }
        )
    return found


def cost_rows(table: pd.DataFrame) -> Table:
    """The table of `cost_table` for a page; an unknown cost is an empty cell."""
    return Table.of(
        {
            "Task": table["task"],
            "Method": table["method"],
            "Metric": table["metric"].map(metric_label),
            "Estimate": table["estimate"],
            "95 % interval": map(interval, table["lower"], table["upper"]),
            "Lesions": table["lesions"],
            "Patients": table["patients"],
            "Parameters trained (M)": known_numbers(table["parameters"] / 1e6),
            "GMAC, training step": known_numbers(table["gmacs"]),
            "Activations (MiB)": known_numbers(table["activation_mib"]),
            "GMAC, encoding": known_numbers(table["encoding_gmacs"]),
        }
    )


def cost_figure(table: pd.DataFrame) -> Figure:
    """Draw every method's main metric with its 95 % interval over its cost, one panel per task.

    Methods of unknown cost are not drawn.
    """
    known = table[table["gmacs"].notna() & table["estimate"].notna()]
    if known.empty:
        return sentence("No method has both a metric and a known cost.")
    groups = list(known.groupby("task", sort=False))
    figure = make_subplots(
        rows=len(groups),
        cols=1,
        shared_xaxes=True,
        subplot_titles=[_panel_title(rows.iloc[0]) for _, rows in groups],
        vertical_spacing=0.06 / len(groups),
    )
    # Inside their panels, in the corner that the costly and bad would take.
    for place in range(len(groups)):
        title = figure.layout.annotations[place]
        title.update(x=1, xanchor="right", y=title.y - 0.97 / len(groups), font_size=13)
    for place, (_, rows) in enumerate(groups, start=1):
        for index in rows.index:
            figure.add_trace(_mark(rows.loc[[index]]), row=place, col=1)
        if (chance := chance_level(rows["metric"].iloc[0])) is not None:
            figure.add_hline(y=chance, line=LEVEL_LINE, row=place, col=1)
        figure.update_yaxes(title=metric_label(rows["metric"].iloc[0]), row=place, col=1)
    # Room at the left: an untrained method stands at 0.
    most = known["gmacs"].max() + 1e-9
    figure.update_xaxes(range=[-0.06 * most, 1.1 * most])
    costs = known.drop_duplicates("method").set_index("method")["gmacs"].sort_values()
    for method, x in zip(costs.index, spread(costs, 0.05 * most), strict=True):
        figure.add_annotation(
            text=method,
            textangle=-90,
            x=x,
            y=1,
            yref="y domain",
            yanchor="bottom",
            showarrow=False,
            font={"color": method_style(method).color, "size": 12},
            row=1,
            col=1,
        )
    figure.update_xaxes(title="GMAC per image of a training step", row=len(groups), col=1)
    levels = [chance_level(name) for name in known["metric"].unique()]
    low = min([known["lower"].min(), *(level for level in levels if level is not None)])
    figure.update_yaxes(range=[np.floor(10 * low) / 10, np.ceil(10 * known["upper"].max()) / 10])
    return figure.update_layout(
        height=180 + _PANEL_HEIGHT * len(groups),
        showlegend=False,
        margin={**MARGIN, "t": 120},
    )


def _panel_title(row: Any) -> str:
    lesions, patients = counted(int(row.lesions), "lesion"), counted(int(row.patients), "patient")
    return f"{row.task}: {lesions}, {patients}"


def _mark(rows: pd.DataFrame) -> Scatter:
    row = rows.iloc[0]
    style = method_style(row["method"])
    return Scatter(
        x=rows["gmacs"].tolist(),
        y=rows["estimate"].tolist(),
        error_y=error_bars(rows),
        mode="markers",
        marker={"color": style.color, "symbol": style.symbol, "size": 10},
        name=row["method"],
        hovertemplate=(
            f"{with_interval(row.to_dict())}<br>%{{x:.2f}} GMAC, {row['activation_mib']:.0f} MiB, "
            f"{row['parameters'] / 1e6:.1f} M parameters"
        ),
    )
