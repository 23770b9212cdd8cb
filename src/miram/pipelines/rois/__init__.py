"""From mammograms to the crop store and the splits."""

from kedro.pipeline import Node, Pipeline

from miram.pipelines.rois.nodes import cut_crops, split_lesions


def create_pipeline(**_: object) -> Pipeline:
    """Cut the lesions and split them by patient."""
    cut = Node(
        cut_crops,
        inputs=[
            "lesions",
            "mammograms",
            "params:rois",
            "params:engine",
            "crop_folder",
            "identities",
        ],
        outputs="crops",
        name="cut_crops",
    )
    split = Node(
        split_lesions,
        inputs=["lesions", "crops", "params:splits", "identities"],
        outputs="splits",
        name="split_lesions",
    )
    return Pipeline([cut, split])
