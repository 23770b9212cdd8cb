"""From crops to hand-crafted features and their metrics, one namespace per baseline.

Features have one row per lesion: `lesion_id` and `f0`, `f1`...
"""

from collections.abc import Callable

import pandas as pd
from kedro.pipeline import Node, Pipeline

from miram.integrations.deferred import HandcraftedConfig
from miram.mammography.crops.store import CropStore
from miram.models.methods import BASELINES
from miram.pipelines.namespaces import for_each
from miram.pipelines.probe.nodes import evaluate_features

_BOX = ["box_x0", "box_y0", "box_x1", "box_y1"]


def describing(baseline: str) -> Callable[..., pd.DataFrame]:
    """The node of one of the hand-crafted baselines."""

    def describe_lesions(
        crops: CropStore, splits: pd.DataFrame, config: HandcraftedConfig, encoder_size: int
    ) -> pd.DataFrame:
        """Describe every lesion; the table has its origin, which the metrics repeat."""
        from miram.evaluation.features.handcrafted import DESCRIPTIONS, Lesions

        ids, rows = splits["lesion_id"], crops.rows(splits["lesion_id"])
        boxes = crops.manifest.iloc[rows][_BOX].to_numpy()
        lesions = Lesions(ids, crops.crops[rows], crops.masks[rows], boxes, encoder_size)
        table = DESCRIPTIONS[baseline](lesions, config)
        table.attrs["origin"] = {"crops": crops.digest}
        return table

    return describe_lesions


def create_pipeline(**_: object) -> Pipeline:
    """Evaluate every baseline by the same probes on the same patients as the encoders."""
    return Pipeline([for_each(_nodes(name), [name]) for name in BASELINES])


def _nodes(baseline: str) -> list[Node]:
    describe = Node(
        describing(baseline),
        inputs=["crops", "splits", "params:handcrafted", "params:encoder.image_size"],
        outputs="features",
        name="describe_lesions",
    )
    evaluate = Node(
        evaluate_features,
        inputs=["features", "lesions", "splits", "params:evaluation", "params:engine"],
        outputs="evaluation",
        name="evaluate_features",
    )
    return [describe, evaluate]
