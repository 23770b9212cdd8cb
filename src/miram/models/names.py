"""Names of the pretraining methods; each is a namespace of the pipelines."""

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
