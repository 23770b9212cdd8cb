"""Nodes of the export pipeline."""

from typing import TYPE_CHECKING, Any

from miram.models.export.export import ExportConfig, ExportOrder

if TYPE_CHECKING:
    from miram.models.checkpoints.files import EncoderCheckpoint
else:
    EncoderCheckpoint = Any


def order_exports(encoder: EncoderCheckpoint, export: ExportConfig) -> ExportOrder:
    """Ask for the formats of an encoder; saving writes and checks them.

    Args:
        encoder: The encoder.
        export: Which formats.
    """
    return ExportOrder(encoder, export.formats)
