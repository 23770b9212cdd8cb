"""Embeddings in the catalog: saving a plan embeds what it names, loading gives the table."""

from typing import TYPE_CHECKING

from miram.integrations.datasets.table import TableFile

if TYPE_CHECKING:
    from miram.serving.embed import EmbeddingPlan


class EmbeddingsDataset(TableFile):
    """A Parquet table of features, with the audit beside it; large, so best read by row group."""

    def save(self, data: "EmbeddingPlan") -> None:
        """Embed what is not embedded yet and write the table."""
        from miram.serving.embed import embed

        embed(data, self._filepath)
