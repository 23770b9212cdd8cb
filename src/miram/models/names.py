"""Names of the pretraining methods; each is a namespace of the pipelines."""

METHODS = (
    "random",
    "mae",
    "miram_softmax",
    "miram_linformer",
    "miram_performer",
    "miram_nystrom",
)
