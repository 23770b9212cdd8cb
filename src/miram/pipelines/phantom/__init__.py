"""Write synthetic mammograms where there are no real ones."""

import logging
from collections.abc import Iterator
from itertools import islice

from joblib import cpu_count
from kedro.pipeline import Node, Pipeline

from miram.mammography.phantom import PhantomConfig, phantom_files
from miram.progress import track

log = logging.getLogger(__name__)

_CHUNK = 32  # files written at a time


def write_phantom(source: str, config: PhantomConfig) -> Iterator[dict[str, bytes]]:
    """Draw an imitation of CBIS-DDSM, a few files at a time; nothing where the source is real.

    Yields:
        Files by their names relative to the raw root.
    """
    if source != "phantom":
        log.info("the source is %s: no phantom is written", source)
        return
    workers = cpu_count()
    files = track(phantom_files(config, workers=workers), "written phantom files")
    while chunk := dict(islice(files, _CHUNK)):
        yield chunk


def create_pipeline(**_: object) -> Pipeline:
    """Write the phantom into the folder of raw mammograms."""
    node = Node(
        write_phantom,
        inputs=["params:source", "params:phantom"],
        outputs="mammograms",
        name="write_phantom",
    )
    return Pipeline([node])
