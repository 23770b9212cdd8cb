"""What the evaluation of one method gives."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one method, and the tables behind them.

    Attributes:
        metrics: With intervals, by task; see `miram.evaluation.assess.assess_features`.
        predictions: One row per lesion, task and class.
        calibration: Reliability curves of `miram.evaluation.predictions`; this and the
            tables below have no column where they were not asked for.
        subgroups: Metrics by subgroup, from there as well.
        label_efficiency: Table of `miram.evaluation.label_efficiency`.
    """

    metrics: dict[str, Any]
    predictions: pd.DataFrame
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    subgroups: pd.DataFrame = field(default_factory=pd.DataFrame)
    label_efficiency: pd.DataFrame = field(default_factory=pd.DataFrame)
