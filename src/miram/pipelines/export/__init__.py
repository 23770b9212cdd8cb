"""From encoders to the files of other programs: `kedro run --pipeline export --namespaces mae`."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kedro.pipeline import Node, Pipeline

from miram.integrations.deferred import EncoderCheckpoint
from miram.models.export.export import ExportConfig, export_all
from miram.models.methods import METHODS
from miram.pipelines.namespaces import for_each

log = logging.getLogger(__name__)


def export_formats(
    encoder: EncoderCheckpoint, export: ExportConfig, folder: Path
) -> dict[str, Any]:
    """Write an encoder in each format, checked against it, in place of earlier exports.

    Returns:
        What was written, what was left out and why, and the license of the weights.
    """
    found = export_all(encoder, export.formats, folder)
    log.info("%s: %s", folder, ", ".join(found.written) or "nothing written")
    for form, reason in found.left_out.items():
        log.warning("%s: no %s: %s", folder, form, reason)
    return asdict(found)


def create_pipeline(**_: object) -> Pipeline:
    """Write every method's encoder for other programs. No part of the study."""
    node = Node(
        export_formats,
        inputs=["encoder", "params:export", "export_folder"],
        outputs="exports",
        name="export_formats",
    )
    return for_each([node], METHODS)
