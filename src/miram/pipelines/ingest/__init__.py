"""From raw files to the lesion table and the audit."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.pipeline import Node, Pipeline

from miram.mammography.audit import summarize_audit
from miram.mammography.lesion_table import has_place
from miram.mammography.pseudonyms import PseudonymKey, no_identities, pseudonymize
from miram.mammography.sources import make_source

log = logging.getLogger(__name__)


def ingest_lesions(
    mammograms: Path, source: str, options: dict[str, Any], key: PseudonymKey
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Find every lesion's files; what cannot be used becomes an audit row.

    Returns:
        The lesion table, with pseudonyms where the source asks for them; the audit, which names
        files; what the pseudonyms stand for; and the source, which later runs are held to.
    """
    reader = make_source(source, options.get(source))
    ingested = reader.ingest(mammograms)
    _count(ingested.lesions)
    for row in summarize_audit(ingested.audit).itertuples():
        log.info("audit: %d x %s, %s", row.count, row.code, row.action)
    lesions, identities = ingested.lesions, no_identities()
    if reader.pseudonyms:
        lesions, identities = pseudonymize(lesions, key.read(), reader.further_columns)
    return lesions, ingested.audit, identities, {"source": source}


def _count(lesions: pd.DataFrame) -> None:
    """Log lesions, and the images in which nothing is marked, apart."""
    placed = lesions[has_place(lesions)]
    marked = lesions["image_id"].isin(placed["image_id"])
    log.info(
        "%d lesions of %d patients in %d mammograms",
        len(placed),
        placed["patient_id"].nunique(),
        placed["image_id"].nunique(),
    )
    if not marked.all():
        log.info(
            "%d mammograms of %d patients in which nothing is marked",
            lesions.loc[~marked, "image_id"].nunique(),
            lesions.loc[~marked, "patient_id"].nunique(),
        )


def create_pipeline(**_: object) -> Pipeline:
    """Read tables and headers; decode no pixels."""
    node = Node(
        ingest_lesions,
        inputs=["mammograms", "params:source", "params:sources", "pseudonym_key"],
        outputs=["lesions", "ingest_audit", "identities", "ingested_source"],
        name="ingest_lesions",
    )
    return Pipeline([node])
