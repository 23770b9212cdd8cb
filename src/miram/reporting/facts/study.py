"""All that a report is made from."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from miram.errors import MiramError
from miram.evaluation.comparability import one_policy, policy_of, words
from miram.evaluation.config import ComparisonConfig
from miram.mammography.crops.store import CropStore
from miram.reporting.facts.leaderboard import LINEAR


@dataclass(frozen=True)
class MethodResult:
    """What one method left behind.

    Attributes:
        history: Training history, one row per logged step; empty where nothing was trained.
        reconstructions: `scale<s>_target`, `_masked`, `_prediction`: (n, H, H) uint8; may be
            empty.
        metrics: Figures of `miram.evaluation.assess.assess_features`.
        predictions: Predictions behind the figures.
        calibration: Reliability curves of `miram.evaluation.prediction_tables`; this and the
            tables below are empty where they were not made.
        subgroups: Figures by subgroup, from there as well.
        label_efficiency: Table of `miram.evaluation.label_efficiency`.
        features: What the encoder made of the lesions; see `miram.evaluation.features.extract`.
    """

    history: pd.DataFrame
    reconstructions: dict[str, NDArray[np.uint8]]
    metrics: dict[str, Any]
    predictions: pd.DataFrame
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    subgroups: pd.DataFrame = field(default_factory=pd.DataFrame)
    label_efficiency: pd.DataFrame = field(default_factory=pd.DataFrame)
    features: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        lesions: The lesion table.
        audit: What ingestion left out or repaired.
        crops: The crop store.
        splits: Which lesion was on which side.
        leaderboard: All figures with their intervals.
        parameters: All parameters of the run.
        methods: Results by method, in the order of the tables.
        anchors: Predictions from hand-crafted features, by anchor.
        fine_tuned: Figures of `miram.finetuning.evaluate`, of the methods that were fine-tuned.

    Raises:
        MiramError: Methods were judged under different splits, or under others than these.
    """

    lesions: pd.DataFrame
    audit: pd.DataFrame
    crops: CropStore
    splits: pd.DataFrame
    leaderboard: pd.DataFrame
    parameters: dict[str, Any]
    methods: dict[str, MethodResult]
    anchors: dict[str, pd.DataFrame] = field(default_factory=dict)
    fine_tuned: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse figures that do not belong together, or not to these splits."""
        judged = one_policy({name: result.metrics for name, result in self.methods.items()})
        if judged is None or self.splits.empty:
            return
        at_hand = policy_of(self.splits.iloc[0].to_dict())
        if judged != at_hand:
            raise MiramError(
                f"the methods were judged under other splits ({words(judged)}) than those at hand "
                f"({words(at_hand)}): run pretrain, probe and baselines again, or rois with the "
                "former settings of splits"
            )

    @property
    def probes(self) -> pd.DataFrame:
        """The rows of the leaderboard that are of a probe on frozen features."""
        return self.leaderboard[self.leaderboard["protocol"] == LINEAR]

    def compared(self, comparison: ComparisonConfig) -> dict[str, pd.DataFrame]:
        """Predictions of what may be compared: all methods, and the anchors that are named.

        Holm's correction counts whatever is compared, so nobody pays for anchors unasked.
        """
        named = {comparison.reference, *comparison.methods}
        methods = {name: result.predictions for name, result in self.methods.items()}
        return methods | {name: found for name, found in self.anchors.items() if name in named}
