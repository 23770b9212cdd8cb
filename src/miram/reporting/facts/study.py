"""All that a report is made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig, ComparisonConfig
from miram.evaluation.results import Evaluation, one_policy, policy_of, words
from miram.mammography.crops.store import CropStore
from miram.models.methods import METHODS
from miram.reporting.facts.leaderboard import LINEAR
from miram.reporting.styles import MAIN_METRICS


@dataclass(frozen=True)
class MethodResult(Evaluation):
    """What one method left behind; tables that were not made are empty.

    Attributes:
        history: Training history, one row per logged step; empty where nothing was trained.
        reconstructions: `scale<s>_target`, `_masked`, `_prediction`: (n, H, H) uint8.
        features: Features of the lesions; see `miram.evaluation.features.extract`.
        fidelity: Table of `miram.training.pretrain.score_reconstructions`, with the `part` of the
            splits that its crops are of.
    """

    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    reconstructions: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    features: pd.DataFrame = field(default_factory=pd.DataFrame)
    fidelity: pd.DataFrame = field(default_factory=pd.DataFrame)


def joined(methods: Mapping[str, MethodResult], table: str) -> pd.DataFrame:
    """The rows of one table of every method, such as `subgroups`, with their `method`."""
    tables = {name: getattr(result, table) for name, result in methods.items()}
    parts = [one.assign(method=name) for name, one in tables.items() if not one.empty]
    empty = pd.DataFrame(columns=["method", "task", "metric"])
    return pd.concat(parts, ignore_index=True) if parts else empty


@dataclass(frozen=True, eq=False)
class Study:
    """A finished study of one method or more.

    Attributes:
        audit: What ingestion left out or repaired.
        parameters: All parameters of the run.
        methods: Results by method, in the order of the tables.
        baselines: Predictions from hand-crafted features, by baseline.
        fine_tuned: Metrics of `miram.finetuning.evaluate`, of the methods that were fine-tuned.
        attention_costs: Tables of `miram.models.attention_benchmark.measure_attention`, of several
            kinds; None where they were not measured.
        costs: Table of `miram.reporting.sections.costs.cost_table`; None leaves costs out.

    Raises:
        MiramError: There is no method, or methods were evaluated under different splits or under
            others than these.
    """

    lesions: pd.DataFrame
    audit: pd.DataFrame
    crops: CropStore
    splits: pd.DataFrame
    leaderboard: pd.DataFrame
    parameters: dict[str, Any]
    methods: dict[str, MethodResult]
    baselines: dict[str, pd.DataFrame] = field(default_factory=dict)
    fine_tuned: dict[str, dict[str, Any]] = field(default_factory=dict)
    attention_costs: pd.DataFrame | None = None
    costs: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        """Refuse results that do not belong together, or not to these splits."""
        if not self.methods:
            raise MiramError(
                "there is no evaluated method to report on: run `kedro run --pipeline probe` first"
            )
        evaluated = one_policy({name: result.metrics for name, result in self.methods.items()})
        if evaluated is None or self.splits.empty:
            return
        at_hand = policy_of(self.splits.iloc[0].to_dict())
        if evaluated != at_hand:
            raise MiramError(
                f"the methods were evaluated under other splits ({words(evaluated)}) than the "
                f"present ones ({words(at_hand)}): run pretrain, probe and baselines again, or "
                "rois with the former settings of splits"
            )

    @property
    def source(self) -> str | None:
        """Name of the source of data in the parameters."""
        return self.parameters.get("source")

    @property
    def assessment(self) -> AssessmentConfig:
        """How the methods were evaluated."""
        given = self.parameters.get("evaluation", AssessmentConfig())
        return AssessmentConfig.model_validate(given)

    @property
    def missing(self) -> tuple[str, ...]:
        """Methods that were asked for (all, unless `methods` names some) and have no result."""
        asked = self.parameters.get("methods") or METHODS
        return tuple(name for name in asked if name not in self.methods)

    @property
    def probes(self) -> pd.DataFrame:
        """The rows of the leaderboard that are of a probe on frozen features."""
        return self.leaderboard[self.leaderboard["protocol"] == LINEAR]

    @property
    def main_metrics(self) -> pd.DataFrame:
        """The rows of `probes` with the metric by which methods are ranked."""
        return self.probes[self.probes["metric"].isin(MAIN_METRICS)]

    def compared(self, comparison: ComparisonConfig) -> dict[str, pd.DataFrame]:
        """Predictions of what may be compared: all methods, and the baselines that are named.

        Holm's correction counts whatever is compared: an unnamed baseline costs no power.
        """
        named = {comparison.reference, *comparison.methods}
        methods = {name: result.predictions for name, result in self.methods.items()}
        return methods | {name: found for name, found in self.baselines.items() if name in named}

    def has_comparisons(self) -> bool:
        """Whether any method can be compared with the reference."""
        comparison = self.assessment.comparison
        return comparison.reference in self.compared(comparison) and len(self.methods) > 1
