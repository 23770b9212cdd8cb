"""Names of the pretraining methods and of the baselines; each is a namespace of the pipelines."""

import difflib
from typing import Any

from miram.errors import MiramError

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


def choose_methods(asked: Any) -> tuple[str, ...]:
    """The methods of a study, in the order of the tables.

    Args:
        asked: `all`, a list of names, or names joined by + in one text.

    Raises:
        MiramError: There is no such method, or not a single name.
    """
    if asked == "all":
        return METHODS
    names = asked.split("+") if isinstance(asked, str) else list(asked or ())
    check_names(names, METHODS)
    if not names:
        raise MiramError(f"methods names none: all, or some of {', '.join(METHODS)}")
    return tuple(name for name in METHODS if name in names)


def check_names(names: list[str], known: tuple[str, ...] = (*METHODS, *BASELINES)) -> None:
    """Refuse a name that there is not.

    Args:
        names: Names of methods and baselines.
        known: Those that there are.

    Raises:
        MiramError: With the nearest name.
    """
    for name in names:
        if name in known:
            continue
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
        raise MiramError(f"there is no method {name!r}: {hint}")
