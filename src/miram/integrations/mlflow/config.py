"""Where runs are recorded."""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from miram.configuration import Config

_SQLITE = "sqlite:///"
_IN_PROJECT = "data/mlflow"  # for a server, where neither folder is given


class MlflowConfig(Config):
    """Where runs are recorded."""

    enabled: bool = True
    experiment: str = Field("miram", min_length=1)
    tracking_uri: str
    artifacts: str | None = Field(None, description="for a local store; a server has its own")
    pending: str = Field(
        description="folder of what waits for the server; beside the artifacts unless given"
    )
    retry_seconds: float = Field(
        30.0, gt=0, description="seconds between two attempts to reach a server that is away"
    )

    @model_validator(mode="before")
    @classmethod
    def _beside_the_artifacts(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("pending"):
            return values
        artifacts = values.get("artifacts")
        parent = Path(artifacts).parent if artifacts else Path(_IN_PROJECT)
        return {**values, "pending": str(parent / "pending")}

    @property
    def database(self) -> Path | None:
        """The file of a local store; none for a server."""
        uri = self.tracking_uri
        return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def resolve_paths(config: MlflowConfig, project: Path) -> MlflowConfig:
    """Take relative paths from the project, not the working directory.

    Args:
        config: As it was read.
        project: Folder of the Kedro project.
    """
    uri, artifacts = config.tracking_uri, None
    if config.database:
        uri = f"{_SQLITE}{project / config.database}"
        artifacts = (project / config.artifacts).as_uri() if config.artifacts else None
    pending = str(project / config.pending)
    return config.model_copy(
        update={"tracking_uri": uri, "artifacts": artifacts, "pending": pending}
    )
