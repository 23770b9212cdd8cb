"""Score tables of any model, from any program: read, told apart by model, and checked.

Two shapes are understood. Long, as `predictions.parquet` of this project: one row per lesion and
class, in `lesion_id`, `class`, `score`; where there are several, with `task`, `protocol`, `seed`
and `repeat`.
Wide: one row per lesion with a column of probabilities per class; of a binary task, the positive
class alone or a column named `score` will do. Several models share a file by a column `method`.
`fold`, in either shape, is the fold of a cross-validation that scored the lesion, and `label` what
the scores' author took for true, see `external_labels`.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from miram.errors import MiramError

_TEXT = ("lesion_id", "patient_id", "method", "task", "class")
_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_RUN = {"seed": "the training", "repeat": "the cross-validation"}
_BESIDE = {"lesion_id", "patient_id", "method", "task", "fold", "label", "protocol", *_RUN}
"""Columns of a wide table that are no scores."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet file; numbers keep every digit, names stay text.

    Args:
        path: The file.

    Raises:
        MiramError: There is no such file, or it is no table.
    """
    if not path.is_file():
        raise MiramError(f"there is no file {path}: give the path of a .csv or .parquet file")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(
                path,
                dtype=dict.fromkeys(_TEXT, str),
                float_precision="round_trip",
                encoding="utf-8-sig",
            )
    except (OSError, ValueError) as error:
        raise MiramError(
            f"{path} cannot be read as a table: {error}; save it as CSV in UTF-8, with commas, or "
            "as Parquet"
        ) from error
    for sign, word in _SEPARATORS.items():
        if "lesion_id" not in table and any(sign in str(name) for name in table):
            raise MiramError(
                f"the columns of {path} are separated by {word}: save it with commas between the "
                "columns and a point in the numbers, or as Parquet"
            )
    if table.empty:
        raise MiramError(f"{path} has no rows")
    return table


def split_methods(table: pd.DataFrame, name: str, where: str) -> dict[str, pd.DataFrame]:
    """Take a table of several models apart.

    Args:
        table: Scores, with a column `method` if there are several models.
        name: Name of the model of a table without that column.
        where: Name of the table, for messages.

    Returns:
        A table by model, in the order of their first rows.

    Raises:
        MiramError: A row names no model.
    """
    if "method" not in table:
        return {name: table}
    methods = names_in(table, "method", where, "the model that a score is of")
    return {method: table[methods == method].drop(columns="method") for method in methods.unique()}


def split_trainings(table: pd.DataFrame, name: str) -> dict[str, pd.DataFrame]:
    """Take the trainings of one model apart, and the cross-validations of each.

    Args:
        table: Scores of one model, with a column `seed` if it was trained several times, and
            `repeat` if it was cross-validated several times.
        name: Name of the model.

    Returns:
        Scores by a name for messages, the repeats of a seed behind one another.

    Raises:
        MiramError: A row names no training or repeat, or not every training has every repeat.
    """
    found = {name: table}
    for column, meaning in _RUN.items():
        if column not in table:
            continue
        if table[column].isna().any():
            row = int(table[column].isna().to_numpy().argmax()) + 1
            raise MiramError(f"model {name}: {column} is empty in row {row} ({meaning} of a score)")
        if table[column].nunique() > 1:
            found = {
                f"{part}, {column} {value}": rows
                for part, whole in found.items()
                for value, rows in whole.groupby(column, sort=False)
            }
    wanted = {column: set(table[column]) for column in _RUN if column in table}
    if len(found) != math.prod(map(len, wanted.values())):
        raise MiramError(f"model {name}: every seed needs the same repeats of the cross-validation")
    return found


def rows_where(table: pd.DataFrame, column: str, value: str, where: str) -> pd.DataFrame:
    """Take the rows of one task or protocol; all rows of a table that does not tell them apart.

    Args:
        table: Scores of one model.
        column: `task` or `protocol`.
        value: Which one.
        where: Name of model and table, for messages.

    Raises:
        MiramError: There are none.
    """
    if column not in table:
        return table
    rows = table[table[column] == value]
    if rows.empty:
        there = ", ".join(sorted(set(table[column].astype(str))))
        raise MiramError(f"{where} has no scores for the {column} {value!r}: it has {there}")
    return rows


def rows_of_protocol(
    table: pd.DataFrame, protocol: str, where: str
) -> tuple[pd.DataFrame, str | None]:
    """Take the rows of one protocol; a table that has a single one needs no choice.

    Args:
        table: Scores of one model.
        protocol: Whose scores are taken where there are several.
        where: Name of model and table, for messages.

    Returns:
        The rows, and the protocol they are of; None where the table names none.

    Raises:
        MiramError: There are several protocols, but not this one.
    """
    if "protocol" not in table:
        return table, None
    there = table["protocol"].unique()
    if len(there) == 1:
        return table, str(there[0])
    if protocol not in there:
        raise MiramError(
            f"{where} has no scores for the protocol {protocol!r}: it has "
            f"{', '.join(sorted(map(str, there)))}; name one of these (a file that holds a single "
            "protocol needs no choice)"
        )
    return rows_where(table, "protocol", protocol, where), protocol


def score_frame(
    table: pd.DataFrame, task: str, classes: Sequence[str], binary: bool, where: str
) -> pd.DataFrame:
    """Bring the scores of one model into one shape, checked.

    Args:
        table: Long or wide table of one model.
        task: Name of the task.
        classes: Names of the classes; of a binary task the negative and the positive one.
        binary: Whether the positive class alone decides.
        where: Name of model and table, for messages.

    Returns:
        Probabilities by lesion (index, text) and class (columns, in the order of `classes`);
        for a binary task the positive class alone. Classes without scores are absent.

    Raises:
        MiramError: A column is missing, a class unknown, a row double, or a score is missing, no
            number or outside 0 to 1.
    """
    table = rows_where(table, "task", task, where)
    lesions = names_in(table, "lesion_id", where, "by which scores and labels are matched")
    if "class" in table:
        scores = _from_long(table, lesions, where)
    else:
        scores = _from_wide(table, lesions, where)
    scores = _known_classes(scores, classes, binary, where)
    bad = ~((scores >= 0) & (scores <= 1)).to_numpy()  # what is missing is neither
    if bad.any():
        row, column = (places[0] for places in np.nonzero(bad))
        value = scores.iat[row, column]
        raise MiramError(
            f"{where}: the score of lesion {scores.index[row]} for {scores.columns[column]!r} is "
            f"{'missing' if np.isnan(value) else format(value, 'g')} ({int(bad.sum())} such "
            "scores): give a probability from 0 to 1 of every class, such as the softmax or "
            "sigmoid of logits"
        )
    return _probabilities(scores, classes, binary, where)


def names_in(table: pd.DataFrame, column: str, where: str, meaning: str) -> pd.Series:
    """A column of names as text, each present; `meaning` tells what they are for."""
    if column not in table:
        raise MiramError(
            f"{where} has no column {column} ({meaning}); it has: {', '.join(map(str, table))}"
        )
    missing = np.flatnonzero(table[column].isna())
    if len(missing):
        raise MiramError(f"{where}: {column} is empty in row {missing[0] + 1} ({meaning})")
    return table[column].astype(str).str.strip().astype(object)


def _from_long(table: pd.DataFrame, lesions: pd.Series, where: str) -> pd.DataFrame:
    if "score" not in table:
        raise MiramError(
            f"{where} has a column class but no column score; it has: {', '.join(table)}"
        )
    classes = names_in(table, "class", where, "what a score is for")
    keys = pd.DataFrame({"lesion": lesions, "class": classes})
    double = keys[keys.duplicated()]
    if len(double):
        raise _twice(where, f"{double['lesion'].iloc[0]} for {double['class'].iloc[0]!r}")
    scores = numbers_in(table["score"], lesions, where)
    order = pd.unique(classes)
    wide = keys.assign(score=scores.to_numpy()).pivot(
        index="lesion", columns="class", values="score"
    )
    return wide[list(order)]


def _from_wide(table: pd.DataFrame, lesions: pd.Series, where: str) -> pd.DataFrame:
    double = lesions[lesions.duplicated()]
    if len(double):
        raise _twice(where, double.iloc[0])
    columns = [name for name in table if name not in _BESIDE]
    numbers = {str(name): numbers_in(table[name], lesions, where).to_numpy() for name in columns}
    return pd.DataFrame(numbers, index=pd.Index(lesions, name="lesion"))


def _twice(where: str, lesion: str) -> MiramError:
    return MiramError(
        f"{where} scores lesion {lesion} twice: keep one row, or tell models apart by a column "
        "method"
    )


def numbers_in(values: pd.Series, lesions: pd.Series, where: str) -> pd.Series:
    """A column as numbers; what is no number is refused, what is missing stays so."""
    numbers = pd.to_numeric(values, errors="coerce").astype(np.float64)
    wrong = np.flatnonzero(numbers.isna() & values.notna())
    if len(wrong):
        raise MiramError(
            f"{where}: the {values.name} of lesion {lesions.iloc[wrong[0]]} is "
            f"{values.iloc[wrong[0]]!r}, which is no number"
        )
    return numbers


def _known_classes(
    scores: pd.DataFrame, classes: Sequence[str], binary: bool, where: str
) -> pd.DataFrame:
    """Give the columns the names of the classes; case, blanks and underscores do not matter."""
    known = spellings(classes, binary)
    unknown = [name for name in scores if bare(name) not in known]
    if unknown or not len(scores.columns):
        what = f"the unknown class {unknown[0]!r}" if unknown else "no scores"
        raise MiramError(
            f"{where} has {what}: name the columns or classes {', '.join(classes)}, and leave "
            "other columns out"
        )
    found = scores.rename(columns={name: known[bare(name)] for name in scores})
    double = found.columns[found.columns.duplicated()]
    if len(double):
        raise MiramError(f"{where} has two columns for the class {double[0]!r}: keep one")
    return found[[name for name in classes if name in found]]


def spellings(classes: Sequence[str], binary: bool) -> dict[str, str]:
    """The classes by their `bare` names; of a binary task `score` is the positive one."""
    known = {bare(name): name for name in classes}
    return known | {"score": classes[-1]} if binary else known


def bare(name: str) -> str:
    """A name without what does not matter in it."""
    return " ".join(name.replace("_", " ").split()).casefold()


def _probabilities(
    scores: pd.DataFrame, classes: Sequence[str], binary: bool, where: str
) -> pd.DataFrame:
    if not binary:
        return scores
    positive = classes[-1]
    if positive not in scores:
        raise MiramError(f"{where} has no scores for {positive!r}, the class that is asked about")
    if len(scores.columns) == 2:
        off = (scores.sum(axis=1) - 1).abs()
        if off.max() > 1e-3:
            raise MiramError(
                f"{where}: the scores of lesion {off.idxmax()} sum to "
                f"{1 + (scores.sum(axis=1) - 1)[off.idxmax()]:.3g}: two classes of one "
                f"answer have to sum to 1; or give {positive!r} alone"
            )
    return scores[[positive]]
