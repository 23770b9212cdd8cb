"""Parameters of a run as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from miram import configuration
from miram.reporting.facts.tables import Table

_ORDER = ("encoder", "training", "rois", "splits", "features", "evaluation")
_PLACES = {"data_root", "raw_root"}
ABSENT = "–"  # noqa: RUF001


def setting_tables(parameters: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Table]:
    """All parameters but those of the methods, one table per group.

    Folders are left out: they tell about a machine, not about a study. So are names that start
    with an underscore, which hold parts for use elsewhere.

    Args:
        parameters: Parameters of the run, as plain values or as configuration objects.
        methods: Names of the methods, whose blocks are in `method_table`.
    """
    hidden = _PLACES | set(methods)
    groups = [name for name in parameters if name not in hidden and not name.startswith("_")]
    groups.sort(key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    found = {name: flatten(parameters[name]) for name in groups}
    return {
        name: Table(("Setting", "Value"), tuple((key or name, text) for key, text in rows.items()))
        for name, rows in found.items()
        if rows
    }


def method_table(parameters: Mapping[str, Any], methods: Sequence[str]) -> Table:
    """Settings of the methods side by side, one row per setting."""
    blocks = {name: flatten(_method_block(parameters.get(name, {}))) for name in methods}
    keys = dict.fromkeys(key for block in blocks.values() for key in block)
    rows = tuple((key, *(blocks[name].get(key, ABSENT) for name in methods)) for key in keys)
    return Table(("Setting", *methods), rows)


def _method_block(block: Any) -> Any:
    values = plain(block)
    return values.get("method", values) if isinstance(values, dict) else values


def flatten(value: Any) -> dict[str, str]:
    """Nested settings as dotted names and text."""
    return {name: _text(item) for name, item in configuration.flatten(plain(value)).items()}


def plain(value: Any) -> Any:
    """Configuration objects, however deep, as dictionaries, lists and scalars."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)
