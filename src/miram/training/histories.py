"""Histories of several trainings of one method, one after the other."""

from collections.abc import Mapping

import numpy as np
import pandas as pd


def join_histories(histories: Mapping[str | int, pd.DataFrame], column: str) -> pd.DataFrame:
    """Put the histories of folds or seeds into one.

    Folds are one training after the other, whose steps go on from fold to fold. Seeds repeat the
    same training, so that their steps are the same.

    Args:
        histories: Table with `step` by part, at least one; a single one stays as it is.
        column: Where the part is named, `fold` or `seed`.
    """
    if len(histories) == 1:
        return next(iter(histories.values()))
    tables = list(histories.values())
    last = [0 if column == "seed" else last_step(table) for table in tables]
    before = np.cumsum([0, *last[:-1]])
    moved = [
        table.assign(**{"step": table["step"] + start, column: part})
        for part, table, start in zip(histories, tables, before, strict=True)
    ]
    return pd.concat(moved, ignore_index=True)


def last_step(history: pd.DataFrame) -> int:
    """How many steps a training took; 0 of a method that does not train."""
    return 0 if history.empty else int(history["step"].max())
