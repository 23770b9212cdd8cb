"""From features to figures: every task of one method, with intervals and predictions."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from pydantic import Field, field_validator, model_validator

from miram.configuration import Seeds
from miram.errors import MiramError
from miram.evaluation.bootstrap import DRAWS
from miram.evaluation.comparison import ComparisonConfig
from miram.evaluation.fold_features import Features
from miram.evaluation.label_efficiency import LabelEfficiencyConfig
from miram.evaluation.pairs import evaluation_pairs, require_lesions
from miram.evaluation.predictions import COLUMNS, prediction_table
from miram.evaluation.protocols import ProtocolConfig, split_names
from miram.evaluation.scoring import score_task
from miram.evaluation.subgroups import VARIABLES
from miram.evaluation.targets import WithoutCallback, targets_of
from miram.evaluation.task_figures import task_figures
from miram.evaluation.tasks import TASKS, TaskConfig
from miram.mammography.splits import split_repeats

log = logging.getLogger(__name__)

__all__ = [
    "Assessment",
    "AssessmentConfig",
    "assess_features",
    "assess_seeds",
    "evaluation_pairs",
    "targets_of",
]


class AssessmentConfig(ProtocolConfig):
    """Which tasks are asked, of which seeds, by which protocols, and how sure the answers are."""

    tasks: tuple[str, ...] = Field(
        ("pathology",), min_length=1, description="names, joined by + in one text; or all"
    )
    own_tasks: tuple[TaskConfig, ...] = Field((), description="tasks on further columns")
    seeds: Seeds = Field(
        (), description="trainings that are judged, joined by + in one text; all if empty"
    )
    without_callback: WithoutCallback = "benign"
    bootstrap_draws: int = Field(DRAWS, ge=100)
    seed: int = Field(0, ge=0)
    subgroups: tuple[str, ...] = Field(
        VARIABLES, description="columns of the lesion table by which figures are split up"
    )
    label_efficiency: LabelEfficiencyConfig = LabelEfficiencyConfig()
    comparison: ComparisonConfig = ComparisonConfig()

    def task(self, name: str) -> TaskConfig:
        """The task of that name.

        Raises:
            MiramError: There is none.
        """
        known = _known(self.own_tasks)
        if name not in known:
            raise MiramError(f"unknown task {name!r}: choose among {', '.join(known)}")
        return known[name]

    def all_tasks(self) -> tuple[TaskConfig, ...]:
        """The tasks asked, one's own behind the named ones."""
        names = dict.fromkeys((*self.tasks, *(task.name for task in self.own_tasks)))
        return tuple(self.task(name) for name in names)

    @field_validator("tasks", mode="before")
    @classmethod
    def _task_names(cls, given: Any) -> Any:
        return split_names(given, TASKS)

    @model_validator(mode="after")
    def _consistent(self) -> "AssessmentConfig":
        own = [task.name for task in self.own_tasks]
        repeated = [name for place, name in enumerate(own) if name in (*TASKS, *own[:place])]
        if repeated:
            raise ValueError(f"there is a task {repeated[0]!r} already: give yours another name")
        known = _known(self.own_tasks)
        for name in (*self.tasks, *self.comparison.tasks):
            if name not in known:
                raise ValueError(f"unknown task {name!r}: choose among {', '.join(known)}")
        return self


def _known(own: tuple[TaskConfig, ...]) -> dict[str, TaskConfig]:
    return TASKS | {task.name: task for task in own}


@dataclass(frozen=True)
class Assessment:
    """What one method achieved.

    Attributes:
        metrics: `strategy`, `leakage`, `repeats` of the cross-validation, `seeds`, `skipped`,
            and by task its entry, see `task_figures`.
        predictions: One row per seed, repeat, protocol, lesion, task and class, see
            `prediction_table`.
    """

    metrics: dict[str, Any]
    predictions: pd.DataFrame


def require_subgroups(lesions: pd.DataFrame, config: AssessmentConfig) -> None:
    """Refuse to split figures up by a column that is misspelled.

    Args:
        lesions: Lesion table; it may lack columns of those that are asked for by default.
        config: Names the columns.

    Raises:
        MiramError: The table has no such column.
    """
    known = (*VARIABLES, *map(str, lesions.columns))
    for name in config.subgroups:
        if name not in known:
            raise MiramError(
                f"evaluation.subgroups names {name!r}, which is no column of the lesion table: "
                f"choose among {', '.join(dict.fromkeys(known))}"
            )


def assess_features(
    features: Features, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> Assessment:
    """Ask every task of the features of one training; as `assess_seeds`."""
    return assess_seeds({0: features}, lesions, splits, config)


def assess_seeds(
    features: Mapping[int, Features],
    lesions: pd.DataFrame,
    splits: pd.DataFrame,
    config: AssessmentConfig,
) -> Assessment:
    """Ask every task of one method's features.

    Args:
        features: By seed (n, d) features, one row per row of `splits`, by the fold they may
            judge; see `features_by_fold`.
        lesions: Lesion table.
        splits: Which lesion is on which side, n rows. Their order does not matter.
        config: Tasks and statistics.

    Raises:
        MiramError: There is no lesion to judge, or no column of that name to split figures up by.
    """
    require_lesions(splits)
    require_subgroups(lesions, config)
    order = splits["lesion_id"].to_numpy(dtype=object).argsort(kind="stable")
    splits = splits.iloc[order].reset_index(drop=True)
    deals = split_repeats(splits)
    ordered = {
        seed: {fold: values[order] for fold, values in by_fold.items()}
        for seed, by_fold in features.items()
    }
    tasks: dict[str, Any] = {}
    predictions, skipped = [], []
    for task in config.all_tasks():
        targets = targets_of(lesions, splits, task, config)
        skipped += [asdict(row) for row in targets.skipped]
        if not targets.supported:
            log.warning("task %s is skipped: %s", task.name, targets.skipped[-1].reason)
            continue
        runs = {
            seed: [score_task(by_fold, targets, deal, config) for deal in deals]
            for seed, by_fold in ordered.items()
        }
        predictions += [prediction_table(scored, seed) for seed, scored in runs.items()]
        tasks[task.name] = task_figures(runs, draws=config.bootstrap_draws, seed=config.seed)
    metrics = {
        "strategy": splits["strategy"].iloc[0],
        "leakage": splits["leakage"].iloc[0],
        "repeats": len(deals),
        "seeds": list(features),
        "tasks": tasks,
        "skipped": skipped,
    }
    found = pd.concat(predictions, ignore_index=True) if predictions else pd.DataFrame()
    return Assessment(metrics, found.reindex(columns=list(COLUMNS)))
