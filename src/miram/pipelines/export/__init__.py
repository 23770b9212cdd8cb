"""From encoders to the files of other programs: `kedro run --pipeline export --namespaces mae`."""

from kedro.pipeline import Node, Pipeline

from miram.models.methods import METHODS
from miram.pipelines.export.nodes import export_formats
from miram.pipelines.namespaces import for_each


def create_pipeline(**_: object) -> Pipeline:
    """Write every method's encoder for other programs. No part of the study."""
    node = Node(
        export_formats,
        inputs=["encoder", "params:export", "export_folder"],
        outputs="exports",
        name="export_formats",
    )
    return for_each(Pipeline([node]), METHODS)
