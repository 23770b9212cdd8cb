"""The pipelines of the project, named as the commands run them."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

STUDY = ("phantom", "ingest", "rois", "pretrain", "probe", "baselines", "report")


def register_pipelines() -> dict[str, Pipeline]:
    """Register each pipeline, and the study from raw data to report as the default.

    Nodes have tags: the name of their pipeline, and of their method or baseline.
    """
    pipelines = {name: _tagged(found, name) for name, found in find_pipelines().items()}
    pipelines["__default__"] = Pipeline([pipelines[name] for name in STUDY if name in pipelines])
    return pipelines


def _tagged(pipeline: Pipeline, name: str) -> Pipeline:
    return Pipeline([node.tag(filter(None, (name, node.namespace))) for node in pipeline.nodes])
