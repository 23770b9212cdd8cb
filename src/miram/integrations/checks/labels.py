"""Whether there is anything to learn from labels, asked before the long work."""

from typing import Any

import pandas as pd
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline

from miram.errors import MiramError
from miram.models.methods import METHODS, SUPERVISED

_LESIONS = "lesions"


class LabelCheck:
    """Refuses to train on labels where no lesion has one, as soon as there is a lesion table.

    Otherwise all other methods would be trained first, for hours.
    """

    def __init__(self) -> None:
        self.learns = False

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: Any) -> None:
        """Check a table that an earlier run has made."""
        self.learns = f"params:{SUPERVISED}.method" in pipeline.inputs()
        if self.learns and _LESIONS in pipeline.inputs() and catalog.exists(_LESIONS):
            check_labels(catalog.load(_LESIONS), catalog)

    @hook_impl
    def after_node_run(self, catalog: Any, outputs: dict[str, Any]) -> None:
        """Check a table that this run has made."""
        if self.learns and _LESIONS in outputs:
            check_labels(outputs[_LESIONS], catalog)


def check_labels(lesions: pd.DataFrame, catalog: Any) -> None:
    """Look for a label of the task that the supervised method learns.

    Args:
        lesions: The lesion table.
        catalog: Holds the parameters.

    Raises:
        MiramError: No lesion has one.
    """
    name = catalog.load(f"params:{SUPERVISED}.method").task
    task = catalog.load("params:evaluation").task(name)
    if task.column in lesions and lesions[task.column].notna().any():
        return
    others = ",".join(method for method in METHODS if method != SUPERVISED)
    raise MiramError(
        f"no lesion has a label of task {name!r}, from which the method {SUPERVISED!r} learns. Set "
        "supervised.method.task to a task that the data supports; or pretrain without labels, with "
        "the same --params: `kedro run --pipelines ingest,rois`, then `kedro run --pipeline "
        f"pretrain --namespaces {others}`"
    )
