"""What is known of the data behind a study: each source says so of itself."""

from miram.mammography.sources import SourceNote, source_note
from miram.mammography.sources.base import UNKNOWN

__all__ = ["UNKNOWN", "SourceNote", "source_note"]
