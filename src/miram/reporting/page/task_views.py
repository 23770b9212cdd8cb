"""What a section of the page shows of one task: charts by the id of their place, and a table."""

from collections.abc import Mapping
from dataclasses import dataclass

from plotly.graph_objects import Figure

from miram.reporting.charts.images import lesion_tile
from miram.reporting.charts.label_efficiency import label_figure, label_rows, label_table
from miram.reporting.charts.neighbors import Neighborhood, neighborhoods
from miram.reporting.charts.reliability import (
    SCALINGS,
    bin_table,
    calibration_table,
    reliability_figure,
)
from miram.reporting.charts.subgroups import subgroup_figure, subgroup_rows, subgroup_table
from miram.reporting.facts.study import MethodResult, Study
from miram.reporting.facts.summary import TaskFinding
from miram.reporting.facts.tables import Table


@dataclass(frozen=True)
class TaskView:
    """One task in one section.

    Attributes:
        finding: The task.
        shown: Methods that are drawn at once: the best trained one and the random encoder.
        charts: Charts by the id of their place on the page.
        table: The numbers.
        points: What the charts draw, of all methods, where the table does not have it.
    """

    finding: TaskFinding
    shown: tuple[str, ...]
    charts: dict[str, Figure]
    table: Table
    points: Table | None = None


@dataclass(frozen=True)
class NeighborView:
    """The neighbors of the lesions of one task.

    Attributes:
        finding: The task.
        method: Whose features.
        items: Lesions with their neighbors.
        tiles: Pictures by lesion, as `data:` addresses.
    """

    finding: TaskFinding
    method: str
    items: list[Neighborhood]
    tiles: dict[str, str]


def drawn_methods(finding: TaskFinding) -> tuple[str, ...]:
    """The best trained method and the random encoder, as far as there are such."""
    return tuple(item.method for item in (finding.trained, finding.untrained) if item)


def calibration_view(
    methods: Mapping[str, MethodResult], finding: TaskFinding, place: int
) -> TaskView:
    """Reliability curves before and after the temperature, and the figures of all methods."""
    shown = drawn_methods(finding)
    charts = {
        f"calibration-{place}-{scaling}": reliability_figure(methods, finding.task, scaling, shown)
        for scaling in SCALINGS
    }
    numbers, bins = calibration_table(methods, finding.task), bin_table(methods, finding.task)
    return TaskView(finding, shown, charts, numbers, bins)


def subgroup_view(
    methods: Mapping[str, MethodResult], finding: TaskFinding, place: int
) -> TaskView | None:
    """Figures by subgroup of the methods drawn; None where nothing splits the lesions."""
    shown = drawn_methods(finding)
    rows = subgroup_rows(methods, finding.task, shown)
    if rows.empty:
        return None
    return TaskView(
        finding, shown, {f"subgroups-{place}": subgroup_figure(rows)}, subgroup_table(rows)
    )


def label_view(
    methods: Mapping[str, MethodResult], finding: TaskFinding, place: int
) -> TaskView | None:
    """Figures by share of the training patients; None where they were not measured."""
    shown = drawn_methods(finding)
    rows = label_rows(methods, finding.task)
    if rows.empty:
        return None
    return TaskView(
        finding, shown, {f"labels-{place}": label_figure(rows, shown)}, label_table(rows)
    )


def neighbor_view(study: Study, findings: list[TaskFinding]) -> NeighborView | None:
    """Neighbors for the first task asked, in the features of its best trained method.

    Returns:
        None where no task was judged, nothing was trained, or the study holds no features.
    """
    asked = [task for result in study.methods.values() for task in result.metrics["tasks"]]
    finding = next((item for item in findings if [item.task] == asked[:1]), None)
    if finding is None or finding.trained is None:
        return None
    items = neighborhoods(study, finding.trained.method, finding.task)
    names = {name for item in items for name in (item.lesion, *(n.lesion for n in item.neighbors))}
    tiles = {name: lesion_tile(study.crops, name) for name in sorted(names)}
    return NeighborView(finding, finding.trained.method, items, tiles) if items else None
