"""All that is said of one method's features: what the nodes of the probe give."""

from dataclasses import replace

import pandas as pd

from miram.evaluation.assess import assess_seeds, require_subgroups
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.label_efficiency import COLUMNS, label_efficiency_table
from miram.evaluation.predictions import calibration_table, subgroup_metrics
from miram.evaluation.probes.scoring import features_to_evaluate
from miram.evaluation.results import Evaluation


def evaluate_table(
    features: pd.DataFrame, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> Evaluation:
    """Fit probes on features and evaluate them on patients they have not seen."""
    by_seed = features_to_evaluate(features, splits, config.seeds)
    found = assess_seeds(by_seed, lesions, splits, config)
    # Which encoder, crops and settings the metrics are of; empty for features from elsewhere.
    return replace(found, metrics={**found.metrics, "features": features.attrs.get("origin", {})})


def evaluate_table_in_detail(
    features: pd.DataFrame, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> Evaluation:
    """Evaluate features, also by subgroup, calibration and number of labels.

    Raises:
        MiramError: A column to split metrics up by does not exist.
    """
    require_subgroups(lesions, config)
    found = evaluate_table(features, lesions, splits, config)
    efficiency = pd.DataFrame(columns=list(COLUMNS))
    if config.label_efficiency.enabled:
        by_seed = features_to_evaluate(features, splits, config.seeds)
        efficiency = label_efficiency_table(by_seed, lesions, splits, config)
    return replace(
        found,
        calibration=calibration_table(found.predictions, found.metrics),
        subgroups=subgroup_metrics(found.predictions, lesions, found.metrics, config),
        label_efficiency=efficiency,
    )
