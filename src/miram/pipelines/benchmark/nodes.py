"""Nodes of the benchmark pipeline; torch is imported when a node runs."""

import logging

import numpy as np
import pandas as pd
from scipy import stats

from miram.evaluation.statistics.inputs import LEVEL
from miram.integrations.deferred import AttentionBenchmarkConfig, PretrainedCheckpoint
from miram.mammography.crops.store import CropStore

log = logging.getLogger(__name__)

_CROPS = 32  # whose queries, keys and values are read, one per patient
_METRICS = ("ms", "kept_mib", "peak_mib", "share")


def measure_attentions(
    config: AttentionBenchmarkConfig, pretrained: PretrainedCheckpoint, crops: CropStore
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure time and memory of each attention, and its distance from softmax on real tokens.

    Each kind is a run of MLflow, whose steps are numbers of tokens.

    Returns:
        The fields of a `Cost`, one row per attention, size, precision, step and kernel; and by
        `kind` the `distance` from softmax in the last decoder of `pretrained`: mean over `crops`,
        one of each patient, and 95 % interval `lower` to `upper` (Student's t). The distance is
        missing for attentions with weights of their own.
    """
    import torch

    from miram.models.attention_benchmark import (
        decoder_heads,
        distance_from_softmax,
        measure_attention,
    )
    from miram.models.checkpoints.joined import first_seed, split_folds
    from miram.training.logging.telemetry import log_metrics

    rows = crops.manifest.drop_duplicates("patient_id").index[:_CROPS]
    first = next(iter(split_folds(first_seed(pretrained)).values()))
    heads = decoder_heads(first.build(), torch.from_numpy(crops.crops[rows]))
    costs, distances = [], []
    for kind in config.kinds:
        found = measure_attention(kind, config)
        for row in found[found["note"] == ""].itertuples():
            label = "/".join(filter(None, (row.kernel, row.precision, row.step)))
            metrics = {f"{label}/{name}": getattr(row, name) for name in _METRICS}
            log_metrics(row.tokens, metrics, run=kind)
            text = "%s/%s with %d tokens: %.2f ms per image"
            log.info(text, kind, label, row.tokens, row.ms)
        costs.append(found)
        away = distance_from_softmax(kind, heads)
        distances.append({"kind": kind, "crops": len(rows), **_mean(away)})
    return pd.concat(costs, ignore_index=True), pd.DataFrame(distances)


def write_page(
    costs: pd.DataFrame, distances: pd.DataFrame, config: AttentionBenchmarkConfig
) -> str:
    """Say in Markdown which attention is faster or smaller than softmax from which size on."""
    from miram.reporting.attention_page import attention_page

    return attention_page(costs, distances, config)


def _mean(values: np.ndarray | None) -> dict[str, float]:
    if values is None:
        return dict.fromkeys(("distance", "lower", "upper"), float("nan"))
    lower, upper = stats.ttest_1samp(values, 0).confidence_interval(LEVEL)
    return {"distance": values.mean(), "lower": lower, "upper": upper}
