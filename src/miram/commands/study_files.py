"""What a finished study left in its data folder, found and read for the commands."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Results:
    """What the probes of one method left behind.

    Attributes:
        metrics: Its figures, `metrics.json` of the newest run.
        predictions: The predictions behind them, `predictions.parquet`.
    """

    metrics: dict[str, Any]
    predictions: "pd.DataFrame"


def versions_of(path: Path) -> list[Path]:
    """The finished files of a versioned dataset, the newest last: versions are timestamps."""
    return sorted(path.glob(f"*/{path.name}"))


def methods_of(data_root: Path) -> list[str]:
    """Names of the methods that a study has predictions of, in the order of the reports.

    Args:
        data_root: Folder of the study's data.

    Raises:
        MiramError: There are none.
    """
    from miram.errors import MiramError
    from miram.models.names import ANCHORS, METHODS

    found = {path.parent.name for path in _outputs(data_root).glob("*/predictions.parquet")}
    if not found:
        raise MiramError(
            f"no predictions under {_outputs(data_root)}: kedro run --pipeline probe makes them, "
            "or name another folder with --data-root"
        )
    known = [name for name in (*METHODS, *ANCHORS) if name in found]
    return [*known, *sorted(found - set(known))]


def read_results(data_root: Path, method: str) -> Results:
    """Read figures and predictions of a method.

    Args:
        data_root: Folder of the study's data.
        method: One of `methods_of`.

    Raises:
        MiramError: Its figures are missing.
    """
    import pandas as pd

    from miram.errors import MiramError

    folder = _outputs(data_root) / method
    versions = versions_of(folder / "metrics.json")
    if not versions:
        raise MiramError(
            f"{folder} holds predictions without metrics.json: "
            f"kedro run --pipeline probe --namespaces {method} makes both"
        )
    metrics = json.loads(versions[-1].read_text(encoding="utf-8"))
    return Results(metrics, pd.read_parquet(folder / "predictions.parquet"))


def report_page(data_root: Path) -> Path:
    """Find the page of a study.

    Args:
        data_root: Folder of the study's data.

    Raises:
        MiramError: There is none.
    """
    from miram.errors import MiramError

    page = data_root / "08_reporting" / "report.html"
    if not page.is_file():
        raise MiramError(
            f"there is no report at {page}: kedro run --pipeline report makes it from a finished "
            "study, kedro run the whole study; name another folder with --data-root"
        )
    return page


def _outputs(data_root: Path) -> Path:
    return data_root / "07_model_output"
