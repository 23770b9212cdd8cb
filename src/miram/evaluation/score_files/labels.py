"""What is true of each lesion: the table that says it, and scores that come with labels too."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from miram.errors import MiramError
from miram.evaluation.score_files.tables import bare, names_in, numbers_in, rows_where, spellings
from miram.evaluation.statistics.inputs import Kind


def check_labels(labels: pd.DataFrame, where: str) -> pd.DataFrame:
    """Check that a table can say what is true of each lesion, and whose it is.

    Args:
        labels: One row per lesion with `lesion_id`, `patient_id` and the columns of the tasks.
        where: Name of the table, for messages.

    Returns:
        The table, both names as text.

    Raises:
        MiramError: A column or a name is missing, or a lesion has several rows.
    """
    labels = labels.copy()
    for name, meaning in (
        ("lesion_id", "by which scores and labels are matched"),
        ("patient_id", "the unit of the intervals; without it they would be too narrow"),
    ):
        labels[name] = names_in(labels, name, where, meaning)
    repeated = labels.loc[labels["lesion_id"].duplicated(), "lesion_id"]
    if len(repeated):
        raise MiramError(
            f"{where}: lesion {repeated.iloc[0]} has several rows ({repeated.nunique()} lesions "
            "have): keep one row per lesion, or which label is the true one?"
        )
    return labels.reset_index(drop=True)


def check_given(
    table: pd.DataFrame,
    truth: pd.DataFrame,
    task: str,
    classes: Sequence[str],
    kind: Kind,
    model: str,
    where: str,
) -> None:
    """Refuse scores that come with other labels: they were made for another question.

    Args:
        table: Long or wide table of one model, maybe with a column `label`.
        truth: Labels, 0 or 1, by lesion and class.
        task: Name of the task.
        classes: Names of the classes; of a binary task the negative and the positive one.
        kind: Kind of the task.
        model: Name of the model.
        where: Name of the label table, for messages.

    Raises:
        MiramError: A label is another one than in `truth`, or cannot be understood.
    """
    table = rows_where(table, "task", task, f"model {model}")
    if "label" not in table:
        return
    given = _long if "class" in table else _wide
    expected = truth.stack()
    shared = given(table, classes, kind, f"model {model}").reindex(expected.index)
    wrong = expected.index[(shared.notna() & (shared != expected)).to_numpy()]
    if len(wrong):
        lesion, name = wrong[0]
        raise MiramError(
            f"model {model} says that the label of lesion {lesion} for {name!r} is "
            f"{shared[wrong[0]]:g}, by {where} it is {expected[wrong[0]]} ({len(wrong)} such "
            "labels): is it the same data version, and --without-callback the same?"
        )


def _long(table: pd.DataFrame, classes: Sequence[str], kind: Kind, where: str) -> pd.Series:
    """Labels by lesion and class, of a table with a row for each."""
    lesions = names_in(table, "lesion_id", where, "whose label it is")
    known = spellings(classes, kind == "binary")
    names = names_in(table, "class", where, "what a label is for").map(bare).map(known)
    labels = numbers_in(table["label"], lesions, where)
    return labels.set_axis(pd.MultiIndex.from_arrays([lesions, names]))


def _wide(table: pd.DataFrame, classes: Sequence[str], kind: Kind, where: str) -> pd.Series:
    """Labels by lesion and class, of a table with a row per lesion.

    `label` names the class of the lesion; of a binary task it may also be 0 or 1, whether the
    lesion is of the positive class.
    """
    if kind == "multi":
        raise MiramError(
            f"{where}: one column label cannot say which of several labels a lesion has: leave it "
            "out, or give a row per lesion and class with lesion_id, class, label and score"
        )
    lesions = names_in(table, "lesion_id", where, "whose label it is").to_numpy()
    texts = table["label"].map(_text, na_action="ignore").to_numpy(dtype=object)
    there = ~pd.isna(texts)
    known: dict[str, str] = {bare(name): name for name in classes}
    wanted = ", ".join(classes)
    if kind == "binary" and not set(texts[there]) <= set(known):
        known |= {"0": classes[0], "1": classes[1], "false": classes[0], "true": classes[1]}
        wanted = f"0 or 1, or one of {wanted}"
    for lesion, text in zip(lesions[there], texts[there], strict=True):
        if text not in known:
            raise MiramError(
                f"{where}: the label of lesion {lesion} is {text!r}, expected {wanted}: correct "
                "the column label, or leave it out"
            )
    found = [known[text] for text in texts[there]]
    hot = {name: [float(one == name) for one in found] for name in classes}
    frame: pd.Series = pd.DataFrame(hot, index=lesions[there]).stack()
    return frame


def _text(value: object) -> str:
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return bare(str(int(value)) if whole else str(value))  # type: ignore[call-overload]
