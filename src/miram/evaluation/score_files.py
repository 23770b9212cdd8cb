"""Scores of any model, from any program, evaluated by the same rules as those of our encoders.

A table of scores has the columns of a study's `predictions.parquet`: one row per lesion and class
with `lesion_id`, `class` and `score`, and where there are several `task`, `protocol`, `seed`,
`repeat` and `fold`; `label`, 0 or 1, is compared with the label table. Two short forms have one
row per lesion: `score`, of the positive class of a binary task, or a column for each class.
From the predictions of a finished study come, digit for digit, its own metrics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from miram.configuration import Config
from miram.errors import MiramError
from miram.evaluation.assess import metrics_entry
from miram.evaluation.predictions import COLUMNS, TaskScores, class_columns, task_scores
from miram.evaluation.probes.protocols import MAIN
from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.bootstrap import DRAWS
from miram.evaluation.statistics.comparison import Comparison, compare_methods
from miram.evaluation.statistics.delong import auc_test
from miram.evaluation.statistics.inputs import same_folds
from miram.evaluation.statistics.metrics import require_metric
from miram.evaluation.tasks.definitions import TaskConfig
from miram.evaluation.tasks.targets import (
    Skipped,
    TaskTargets,
    WithoutCallback,
    class_names,
    task_targets,
)
from miram.files import require_headings

_KEY = ["lesion_id", "class", "seed", "repeat"]
_ABOUT = ("lesions", "patients", "seeds", "repeats", "protocol")


class ScoreFilesConfig(Config):
    """What is asked of the scores, and how."""

    without_callback: WithoutCallback = "benign"
    part: str | None = Field(
        None,
        pattern=r"^[^=]+=.+$",
        description="COLUMN=VALUE: evaluate exactly the lesions of the label table with that "
        "value, such as official_split=test; by default all lesions that have a score",
    )
    protocol: str = Field(
        MAIN, description="whose scores are read from a table that holds several protocols"
    )
    reference: str | None = Field(None, description="the model that others are compared with")
    compare_by: str | None = Field(
        None, description="metric compared; the area under the ROC curve if not given"
    )
    draws: int = Field(DRAWS, ge=100, description="bootstrap draws")
    seed: int = Field(0, ge=0, description="seed of the draws")


@dataclass(frozen=True)
class Evaluation:
    """The metrics of several models on the same lesions.

    Attributes:
        task: Name of the task.
        models: By model its entry as in `metrics.json`, see `metrics_entry`, and the `protocol`
            that its scores are of, None where its table names none.
        comparisons: Every other model against the reference, paired; Holm over all of them.
        delong_p: By model, p of DeLong's paired test against the reference; of binary tasks and
            models with a single training that were evaluated in the same folds.
        skipped: Lesions and classes that were left out, and why.
        unscored: Lesions of the label table that no model has scored.
        warnings: What has to be known before a metric is believed.
        config: What was asked.
    """

    task: str
    models: dict[str, dict[str, Any]]
    comparisons: tuple[Comparison, ...]
    delong_p: dict[str, float]
    skipped: tuple[Skipped, ...]
    unscored: int
    warnings: tuple[str, ...]
    config: ScoreFilesConfig

    def table(self) -> pd.DataFrame:
        """One row per model and metric; tests stand in the row of the metric they are of."""
        tests = {(row.method, row.metric): row for row in self.comparisons}
        cells = {name: name for name in ("reference", "difference", "p_value", "p_holm")}
        cells |= {"difference_lower": "lower", "difference_upper": "upper"}
        rows = []
        for model, entry in self.models.items():
            for metric, values in entry["metrics"].items():
                test = tests.get((model, metric))
                delong = (entry["delong"] or {}) if metric == "auc" else {}
                rows.append(
                    {
                        "method": model,
                        "task": self.task,
                        "metric": metric,
                        **{name: value for name, value in values.items() if "by_" not in name},
                        **{name: entry[name] for name in _ABOUT},
                        **{name: getattr(test, key, None) for name, key in cells.items()},
                        "delong_lower": delong.get("lower"),
                        "delong_upper": delong.get("upper"),
                        "delong_p": self.delong_p.get(model) if metric == "auc" else None,
                        "warning": " ".join(self.warnings) or None,
                    }
                )
        return pd.DataFrame(rows)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet file; numbers keep every digit, names stay text.

    Raises:
        MiramError: There is no such file, or it is no table with `lesion_id`.
    """
    if not path.is_file():
        raise MiramError(f"there is no file {path}: give the path of a .csv or .parquet file")
    text = dict.fromkeys(("lesion_id", "patient_id", "method", "task", "class"), str)
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(
                path, dtype=text, float_precision="round_trip", encoding="utf-8-sig"
            )
            require_headings(table)
    except (OSError, ValueError) as error:
        raise MiramError(
            f"{path} cannot be read as a table: {error}; save it as CSV in UTF-8, with commas, or "
            "as Parquet"
        ) from error
    if table.empty or "lesion_id" not in table:
        raise MiramError(
            f"{path} has {len(table)} rows and the columns {', '.join(map(str, table))}: it needs "
            "rows and lesion_id; save it as CSV with commas, or as Parquet"
        )
    return table


def evaluate_scores(
    scores: Mapping[str, pd.DataFrame],
    labels: pd.DataFrame,
    task: TaskConfig,
    config: ScoreFilesConfig,
) -> Evaluation:
    """Evaluate the scores of any models on the same lesions.

    The labels have one row per lesion: `lesion_id`, `patient_id` and the columns of the task; they
    are a lesion table, or any table with these names and values.

    Raises:
        MiramError: A table is not in order, models are not scored on the same lesions and
            classes, the lesions cannot answer the task, or a name is unknown.
    """
    if config.reference not in (None, *scores):
        raise MiramError(
            f"the reference {config.reference!r} is none of the models: {', '.join(scores)}"
        )
    if config.compare_by is not None:
        require_metric(config.compare_by, task.kind)
    labels = _checked_labels(labels, task)
    classes = class_names(task, labels)
    tables = {name: _long(one, task, classes, config, name) for name, one in scores.items()}
    scored = set().union(*(table["lesion_id"] for table in tables.values()))
    if unknown := scored - set(labels["lesion_id"]):
        raise MiramError(
            f"lesion {min(unknown)} ({len(unknown)} such lesions) is scored, but not in the label "
            f"table, whose first is {labels['lesion_id'].iloc[0]}: use the same lesion_id in both"
        )
    inside = labels["lesion_id"].isin(scored) if config.part is None else _in_part(labels, config)
    evaluated = labels[inside].reset_index(drop=True)
    # Nothing is trained here: two patients of a class are enough.
    least = task.model_copy(update={"min_patients": 1})
    targets = task_targets(evaluated, least, config.without_callback)
    if not targets.supported:
        raise MiramError(
            f"the lesions cannot answer the task {task.name!r}: {targets.skipped[-1].reason}"
        )
    truth, dropped = _truth(evaluated, targets, tables)
    found = {name: _task_scores(table, truth, task, name) for name, table in tables.items()}
    left_out = []
    if outside := len(scored - set(evaluated["lesion_id"])):
        left_out.append(Skipped(task.name, "lesions", outside, f"scored, but not in {config.part}"))
    names = targets.classes if task.kind == "binary" else next(iter(found.values())).classes
    models = {}
    for name, one in found.items():
        values, seeds = one.of_kind(task.kind)
        entry = metrics_entry(
            values, seeds, one.patients, names, draws=config.draws, seed=config.seed
        )
        protocol = tables[name].attrs["protocol"]
        models[name] = {**entry, "seeds": seeds.seeds, "protocol": protocol}
    comparisons, delong_p = _comparisons(found, task, config)
    return Evaluation(
        task=task.name,
        models=models,
        comparisons=comparisons,
        delong_p=delong_p,
        skipped=(*left_out, *targets.skipped, *dropped),
        unscored=len(labels) - len(scored),
        warnings=_warnings(evaluated.iloc[targets.rows], found, config),
        config=config,
    )


def _checked_labels(labels: pd.DataFrame, task: TaskConfig) -> pd.DataFrame:
    for name in ("lesion_id", "patient_id"):
        if name not in labels or labels[name].isna().any():
            raise MiramError(
                f"the label table needs {name} in every row; it has: {', '.join(map(str, labels))}"
            )
    labels = labels.assign(**{n: labels[n].astype(str) for n in ("lesion_id", "patient_id")})
    repeated = labels.loc[labels["lesion_id"].duplicated(), "lesion_id"]
    if len(repeated):
        raise MiramError(
            f"lesion {repeated.iloc[0]} has several rows in the label table ({len(repeated)} more "
            "rows than lesions): keep one row per lesion"
        )
    if task.kind == "multi" and task.column in labels:
        # Several labels in one cell of a CSV are joined by a hyphen.
        split = labels[task.column].map(
            lambda cell: cell.split("-") if isinstance(cell, str) else cell
        )
        labels = labels.assign(**{task.column: split.astype(object)})
    return labels.reset_index(drop=True)


def _in_part(labels: pd.DataFrame, config: ScoreFilesConfig) -> pd.Series:
    column, _, value = str(config.part).partition("=")
    texts = labels[column].astype(str) if column in labels else pd.Series("", labels.index)
    if not texts.eq(value).any():
        there = sorted(set(texts))[:10] if column in labels else list(map(str, labels))
        what = "column holds" if column in labels else "table has the columns"
        raise MiramError(f"no lesion is of the part {config.part}: the {what} {', '.join(there)}")
    return texts.eq(value)


def _long(
    table: pd.DataFrame,
    task: TaskConfig,
    classes: tuple[str, ...],
    config: ScoreFilesConfig,
    model: str,
) -> pd.DataFrame:
    """The checked scores of one model, a row per lesion, class, seed and repeat."""
    if not {"class", "score"} & set(table):
        named = [name for name in classes if name in table]
        others = [name for name in table if name not in named]
        table = table.melt(others, named, var_name="class", value_name="score")
    elif "class" not in table and task.kind == "binary":
        table = table.assign(**{"class": classes[-1]})
    expected = f"{', '.join(COLUMNS)}, method, or a column for each class: {', '.join(classes)}"
    strange = sorted(set(map(str, table)) - {*COLUMNS, "method"})
    lacking = [name for name in ("lesion_id", "class", "score") if name not in table]
    if strange or lacking or table.empty:
        what = f"the unknown column {strange[0]!r}" if strange else "no scores"
        raise MiramError(f"model {model} has {what}: a table of scores has the columns {expected}")
    table = _rows(table, "task", task.name, model)
    protocol = None  # where the table names none
    if "protocol" in table:
        only = list(table["protocol"].unique())
        protocol = str(only[0]) if len(only) == 1 else config.protocol
        table = _rows(table, "protocol", protocol, model)
    table = table.assign(**{name: 0 for name in ("seed", "repeat") if name not in table})
    table["lesion_id"] = table["lesion_id"].astype(str)
    unknown = sorted(set(map(str, table["class"])) - set(classes))
    if unknown or table[_KEY].isna().any(axis=None):
        what = f"scores the unknown class {unknown[0]!r}" if unknown else "leaves a key empty"
        raise MiramError(
            f"model {model} {what}: fill {', '.join(_KEY)}; the classes of {task.name} are "
            f"{', '.join(classes)}"
        )
    if task.kind == "binary":
        table = _rows(table, "class", classes[-1], model)
    if (double := table.duplicated(_KEY)).any():
        raise MiramError(
            f"model {model} scores lesion {table.loc[double, 'lesion_id'].iloc[0]} twice: keep one "
            "row, or name the models in a column method"
        )
    numbers = pd.to_numeric(table["score"], errors="coerce")
    if (bad := ~numbers.between(0, 1)).any():
        row = table[bad].iloc[0]
        raise MiramError(
            f"model {model}: the score of lesion {row['lesion_id']} is {row['score']} "
            f"({bad.sum()} such scores): give a probability from 0 to 1, such as a softmax"
        )
    table = table.assign(score=numbers)
    table.attrs["protocol"] = protocol
    return table


def _rows(table: pd.DataFrame, column: str, value: str, model: str) -> pd.DataFrame:
    """The rows of one task, protocol or class; all where the table names none."""
    if column not in table:
        return table
    rows = table[table[column] == value]
    if rows.empty:
        there = ", ".join(sorted(set(table[column].astype(str))))
        raise MiramError(f"model {model} has no scores for the {column} {value!r}: it has {there}")
    return rows


def _truth(
    evaluated: pd.DataFrame, targets: TaskTargets, tables: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, list[Skipped]]:
    """`lesion_id`, `patient_id`, `class` and `label`, a row per lesion and class, and what is left.

    Of a task with several labels, one that no model scores is left out.
    """
    names, hot = class_columns(targets, targets.labels)
    about = evaluated.iloc[targets.rows][["lesion_id", "patient_id"]]
    scored = set().union(*(table["class"] for table in tables.values()))
    unscored = [name for name in names if name not in scored] if targets.kind == "multi" else []
    kept = [k for k, name in enumerate(names) if name not in unscored]
    truth = [about.assign(**{"class": names[k], "label": hot[:, k]}) for k in kept]
    if not truth:
        raise MiramError(f"no model scores a class of {targets.task!r} that lesions can answer")
    skipped = [Skipped(targets.task, f"class {n}", 0, "no model scores it") for n in unscored]
    return pd.concat(truth, ignore_index=True), skipped


def _task_scores(
    table: pd.DataFrame, truth: pd.DataFrame, task: TaskConfig, model: str
) -> TaskScores:
    """The scores of the evaluated lesions, with their labels, by every seed and repeat."""
    runs = table[["seed", "repeat"]].drop_duplicates()
    # The repeats of a seed follow one another.
    runs = runs.sort_values("seed", key=lambda seeds: pd.factorize(seeds)[0], kind="stable")
    given = truth.merge(runs, how="cross").merge(
        table.drop(columns=["patient_id", "task", "protocol"], errors="ignore"),
        how="left",
        on=_KEY,
        suffixes=("", "_given"),
    )
    missing = given[given["score"].isna()]
    if len(missing):
        lesion, name = missing[["lesion_id", "class"]].iloc[0]
        raise MiramError(
            f"model {model} has no score for lesion {lesion}, class {name!r} ({len(missing)} "
            "scores are missing): every model has to score the same lesions and classes in each "
            "seed and repeat; choose lesions with --part where it was not meant to"
        )
    labels = given.get("label_given", given["label"])
    wrong = given[labels.notna() & (labels != given["label"])]
    if len(wrong):
        lesion, name, label = wrong[["lesion_id", "class", "label"]].iloc[0]
        raise MiramError(
            f"model {model} has another label for lesion {lesion}, class {name!r}, than the label "
            f"table, which says {label} ({len(wrong)} such labels): is it the same data version, "
            "and --without-callback the same?"
        )
    if "fold" in given:
        folds = given.groupby(["lesion_id", "seed", "repeat"])["fold"]
        if given["fold"].isna().any() or folds.nunique().max() > 1:
            raise MiramError(
                f"model {model}: every lesion needs one fold, the same in all its rows"
            )
    return task_scores(given.assign(task=task.name), task.name)


def _warnings(
    evaluated: pd.DataFrame, found: Mapping[str, TaskScores], config: ScoreFilesConfig
) -> tuple[str, ...]:
    """Say it where lesions of the official training part are evaluated, unless that was asked."""
    folds = [one.seeds.folds for one in found.values()]
    cross_validated = all(one is not None and len(np.unique(one)) > 1 for one in folds)
    asked = (config.part or "").startswith("official_split=")
    if "official_split" not in evaluated or asked or cross_validated:
        return ()
    count = int(evaluated["official_split"].eq("train").fillna(False).sum())
    if not count:
        return ()
    return (
        f"{count} of {len(evaluated)} evaluated lesions are of the official training part: metrics "
        "of a model that was trained on them say nothing about new patients. Evaluate the test "
        "part: --part official_split=test",
    )


def _comparisons(
    found: Mapping[str, TaskScores], task: TaskConfig, config: ScoreFilesConfig
) -> tuple[tuple[Comparison, ...], dict[str, float]]:
    """Paired bootstraps against the reference, and p of DeLong's test where it is defined."""
    if config.reference is None:
        return (), {}
    base = found[config.reference]
    labels, _ = base.of_kind(task.kind)
    scores = {name: one.of_kind(task.kind)[1] for name, one in found.items()}
    rows = compare_methods(
        labels,
        scores,
        base.patients,
        reference=config.reference,
        metric=config.compare_by,
        draws=config.draws,
        seed=config.seed,
    )
    ours, delong = scores.pop(config.reference), {}
    for name, one in scores.items():
        single = task.kind == "binary" and len(one.each) == len(ours.each) == 1
        if not single or not same_folds(one, ours):
            continue
        [(own, folds)], [(other, _)] = one.parts(), ours.parts()
        try:
            delong[name] = auc_test(labels, own, other, base.patients, folds)
        except StatisticsError:  # a fold has fewer than two patients of a class: no variance
            continue
    return tuple(rows), delong
