"""The error of a source that leaves out every file, with the audit that says why."""

import pandas as pd

from miram.errors import MiramError


class NothingFoundError(MiramError):
    """Not one mammogram in a folder.

    Attributes:
        audit: One row for each file that was left out (`lesion_table.AUDIT_COLUMNS`).
    """

    def __init__(self, message: str, audit: pd.DataFrame) -> None:
        super().__init__(message)
        self.audit = audit
