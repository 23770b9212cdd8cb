"""Names of the pretraining methods and of the anchors; each is a namespace of the pipelines."""

# Trained on the labels of the training patients; all others never see a label.
SUPERVISED = "supervised"

METHODS = (
    "random",
    SUPERVISED,
    "mae",
    "miram_softmax",
    "miram_linformer",
    "miram_performer",
    "miram_nystrom",
    "miram_cross",
    "hiend_mae",
    "moco_v3",
)

# Hand-crafted features before the same probe: what an encoder has to beat to be worth anything.
BASELINES = ("hog", "lbp", "intensity", "box_size")
