"""The finished part of one mammogram as a file, and the table that all parts become."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from miram.errors import MiramError
from miram.files import atomic_path
from miram.mammography.lesion_table import audit_rows

_TEXTS = ("region_id", "image_id", "patient_id", "image_path", "kind")
_NUMBERS = ("patches", "x0", "y0", "x1", "y1")
_ROW_GROUP = 1024  # rows held before they are written
_PANDAS = "PANDAS_ATTRS"


@dataclass(frozen=True)
class Summary:
    """What an embedding gave.

    Attributes:
        mammograms: Number of mammograms with at least one row.
        rows: Number of rows.
        left_out: Number of files and lesions that gave none; the audit names them.
    """

    mammograms: int
    rows: int
    left_out: int


@dataclass(frozen=True)
class Rows:
    """Rows of the table.

    Attributes:
        names: What each row is: `region_id` and so on.
        features: (n, D).
        probabilities: (n, K).
    """

    names: list[dict[str, Any]]
    features: NDArray[np.float32]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """What one mammogram gave, in one file.

    Attributes:
        path: The file.
    """

    path: Path

    def save(self, rows: Rows, problems: list[dict[str, str]]) -> None:
        """Write the file, whole or not at all."""
        arrays: dict[str, Any] = {
            "features": rows.features,
            "probabilities": rows.probabilities,
            "text": np.array(json.dumps([rows.names, problems])),
        }
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def load(self) -> tuple[Rows, list[dict[str, str]]]:
        """Read the rows of a mammogram and its audit rows."""
        with np.load(self.path, allow_pickle=False) as file:
            names, problems = json.loads(str(file["text"]))
            return Rows(names, file["features"], file["probabilities"]), problems


def join_parts(
    parts: Iterable[Part],
    path: Path,
    classes: tuple[str, ...],
    audit: pd.DataFrame,
    facts: dict[str, str],
) -> Summary:
    """Write the rows of all parts into one table, and all problems into one audit.

    Args:
        parts: In the final order; a few of them are held at a time.
        path: Parquet file to write. The audit is written first, as `<name>.audit.csv`.
        classes: Names of the classes that there are probabilities of.
        audit: Audit rows from before.
        facts: What made the table, kept in its schema.

    Raises:
        MiramError: There is not one row.
    """
    problems: list[dict[str, str]] = []
    mammograms = 0
    with atomic_path(path) as temporary:
        with _TableWriter(temporary, classes, facts) as writer:
            for part in parts:
                rows, its_problems = part.load()
                problems += its_problems
                if rows.names:
                    writer.add(rows)
                    mammograms += 1
        everything = pd.concat([audit, audit_rows(problems)], ignore_index=True)
        audit_path = path.with_name(f"{path.stem}.audit.csv")
        with atomic_path(audit_path) as audit_file:
            everything.to_csv(audit_file, index=False)
        left_out = everything[everything["action"] == "left out"]
        if not writer.rows:
            raise MiramError(_nothing(left_out, audit_path))
    return Summary(mammograms, writer.rows, len(left_out))


def _nothing(left_out: pd.DataFrame, audit_path: Path) -> str:
    """Why there is no table: how many files by code, with the first of each."""
    reasons = [
        f"{len(rows)} {code}, such as {rows['file'].iloc[0]} ({rows['detail'].iloc[0]})"
        for code, rows in left_out.groupby("code")
    ]
    if not reasons:
        return "not one mammogram could be embedded: there is no file that looks like one"
    found = "; ".join(reasons)
    return f"not one mammogram could be embedded: {found}. All files are named in {audit_path}"


class _TableWriter:
    """Writes rows as row groups of one Parquet file."""

    def __init__(self, path: Path, classes: tuple[str, ...], facts: dict[str, str]) -> None:
        self.path, self.classes, self.rows = path, classes, 0
        # Once for every reader, and once more where pandas looks for the `attrs` of a table.
        self.metadata = {**facts, _PANDAS: json.dumps(facts)}
        self.waiting: list[Rows] = []
        self.file: pq.ParquetWriter | None = None

    def __enter__(self) -> "_TableWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        if self.file:
            self.file.close()

    def add(self, rows: Rows) -> None:
        self.rows += len(rows.names)
        self.waiting.append(rows)
        if sum(len(waiting.names) for waiting in self.waiting) >= _ROW_GROUP:
            self._write()

    def _write(self) -> None:
        if not self.waiting:
            return
        names = [name for rows in self.waiting for name in rows.names]
        features = np.concatenate([rows.features for rows in self.waiting])
        chances = np.concatenate([rows.probabilities for rows in self.waiting])
        self.waiting.clear()
        columns: dict[str, Any] = {
            **{key: pa.array([name[key] for name in names], pa.string()) for key in _TEXTS},
            **{key: pa.array([name.get(key) for name in names], pa.int64()) for key in _NUMBERS},
            **{f"p_{label}": chances[:, k] for k, label in enumerate(self.classes)},
            **{f"f{k}": features[:, k] for k in range(features.shape[1])},
        }
        table = pa.table(columns).replace_schema_metadata(self.metadata)
        self.file = self.file or pq.ParquetWriter(self.path, table.schema)
        self.file.write_table(table)
