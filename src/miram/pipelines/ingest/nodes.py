"""Nodes of the ingest pipeline."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from miram.mammography.lesion_table import summarize_audit
from miram.mammography.sources import make_source

log = logging.getLogger(__name__)


def ingest_lesions(
    mammograms: Path, source: str, options: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find every lesion's files; what cannot be used becomes an audit row.

    Args:
        mammograms: Folder of the raw data.
        source: Name of the source.
        options: Options of each source by name.

    Returns:
        The lesion table and the audit.
    """
    ingested = make_source(source, options.get(source)).ingest(mammograms)
    log.info(
        "%d lesions of %d patients in %d mammograms",
        len(ingested.lesions),
        ingested.lesions["patient_id"].nunique(),
        ingested.lesions["image_id"].nunique(),
    )
    for row in summarize_audit(ingested.audit).itertuples():
        log.info("audit: %d x %s, %s", row.count, row.code, row.action)
    return ingested.lesions, ingested.audit
