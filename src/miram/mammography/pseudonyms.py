"""Patients, lesions, images and files under other names, from ingestion on.

A name becomes `patient-` or `lesion-` and so on with 16 digits of its HMAC (RFC 2104), so that who
lacks the key can neither read it nor try names out. What stands for what is kept in a table of its
own, the identities, beside the raw data: docs/privacy.md.
"""

import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from miram.errors import MiramError
from miram.files import atomic_path
from miram.mammography.lesion_table import COLUMNS

PRIVATE = 0o600  # for the owner alone
_DIGITS = 16  # 64 bits: in a million names the chance that two coincide is 3 in 100 million
_SHORTEST_KEY = 16
_SHORTEST_NAME = 5  # characters; a shorter one may be a label by chance, such as 2 or left
_BETWEEN_WORDS = re.compile(r"[\s,;:|()]+")
_KINDS = {column.name: column.names for column in COLUMNS if column.names}


@dataclass(frozen=True)
class PseudonymKey:
    """The key of a study: the one given, else a random one that is made when it is first read.

    Attributes:
        path: Where the random key is kept.
        given: Empty for the random key.
    """

    path: Path
    given: str = field(default="", repr=False)

    def read(self) -> bytes:
        """Give the key.

        Raises:
            MiramError: It is too short to keep anything secret.
        """
        if not self.given and not self.path.is_file():
            with atomic_path(self.path, mode=PRIVATE) as temporary:
                temporary.write_text(secrets.token_hex(32))
        key = self.given or self.path.read_text(encoding="utf-8").strip()
        if len(key) < _SHORTEST_KEY:
            where = "pseudonyms.key of the credentials" if self.given else str(self.path)
            raise MiramError(
                f"{where} has {len(key)} characters, a key needs {_SHORTEST_KEY}: make one with "
                "python -c 'import secrets; print(secrets.token_hex(32))'"
            )
        return key.encode()


def pseudonym(key: bytes, kind: str, name: str) -> str:
    """The name under which a `kind` (patient, lesion, image, file) of that name goes."""
    digest = hmac.digest(key, f"{kind} {name}".encode(), "sha256")
    return f"{kind}-{digest.hex()[:_DIGITS]}"


def no_identities() -> pd.DataFrame:
    """The identities of a study whose names are its own."""
    return pd.DataFrame(columns=["kind", "pseudonym", "name"], dtype="string")


def pseudonymize(
    lesions: pd.DataFrame, key: bytes, further_columns: Sequence[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give a lesion table that may leave its place.

    Its columns are those of `lesion_table.COLUMNS` and `further_columns`: any other ends here. Its
    order is that of the pseudonyms, since the order of names tells them to who has a list.

    Args:
        lesions: Lesion table of a source.
        key: Key of the study.
        further_columns: A lab's own labels; they pass as they are.

    Returns:
        The lesion table, and the identities: `kind`, `pseudonym` and `name`.

    Raises:
        MiramError: A further column holds names instead of labels.
    """
    allowed = [*(column.name for column in COLUMNS), *further_columns]
    kept = lesions[[name for name in allowed if name in lesions]]
    found: dict[tuple[str, str], str] = {}

    def renamed(kind: str, name: str) -> str:
        return found.setdefault((kind, name), pseudonym(key, kind, name))

    columns = {}
    for column, kind in _KINDS.items():
        columns[column] = [
            renamed(kind, cell) if isinstance(cell, str) else [renamed(kind, one) for one in cell]
            for cell in kept[column]
        ]
    table = kept.assign(
        **{name: pd.Series(cells, kept.index, kept[name].dtype) for name, cells in columns.items()}
    )
    _require_labels(kept, further_columns, {name for _, name in found})
    rows = [(kind, other, name) for (kind, name), other in found.items()]
    identities = pd.DataFrame(rows, columns=list(no_identities()), dtype="string")
    return (
        table.sort_values("lesion_id", ignore_index=True),
        identities.sort_values(["kind", "pseudonym"], ignore_index=True),
    )


def _require_labels(lesions: pd.DataFrame, columns: Sequence[str], names: set[str]) -> None:
    """Refuse a column in which a name stands, whole or as a word; the message does not quote it."""
    paths = [Path(name) for name in names]
    known = names | {path.name for path in paths} | {path.stem for path in paths}
    known = {name for name in known if len(name) >= _SHORTEST_NAME}
    for column in columns:
        texts = lesions[column].dropna().astype(str).unique() if column in lesions else []
        count = sum(bool(known & {text, *_BETWEEN_WORDS.split(text)}) for text in texts)
        if count:
            raise MiramError(
                f"label_columns: {count} values of the column {column!r} name a patient, a lesion, "
                "an image or a file, and labels leave the raw data as they are: leave the column "
                "out, or write labels into it"
            )


def file_names(identities: pd.DataFrame) -> dict[str, str]:
    """Path of each file, relative to the raw root, by its pseudonym; empty without pseudonyms."""
    files = identities[identities["kind"] == "file"]
    return dict(zip(files["pseudonym"], files["name"], strict=True))


def with_own_names(table: pd.DataFrame, identities: pd.DataFrame) -> pd.DataFrame:
    """Put own names in the place of pseudonyms, in `lesion_id` and `patient_id`."""
    return _translated(table, identities, "pseudonym", "name")


def with_pseudonyms(table: pd.DataFrame, identities: pd.DataFrame) -> pd.DataFrame:
    """Put pseudonyms in the place of own names, in `lesion_id` and `patient_id`.

    What is a pseudonym already, or no name of the study, stays.
    """
    return _translated(table, identities, "name", "pseudonym")


def _translated(
    table: pd.DataFrame, identities: pd.DataFrame, before: str, after: str
) -> pd.DataFrame:
    for column in ("lesion_id", "patient_id"):
        its = identities[identities["kind"] == _KINDS[column]]
        names = dict(zip(its[before], its[after], strict=True))
        if names and column in table:
            cells = [names.get(cell, cell) for cell in table[column]]
            table = table.assign(**{column: pd.Series(cells, table.index, table[column].dtype)})
    return table
