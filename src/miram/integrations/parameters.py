"""The parameters of the project's configuration, read as `kedro run` reads them."""

from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException
from kedro.utils import find_kedro_project

from miram.errors import MiramError


def load_parameters(env: str | None = None, start: Path | None = None) -> dict[str, Any]:
    """Read the parameters of an environment.

    Args:
        env: Folder under `conf` that goes over `base`; None for the default one.
        start: Folder in the project; None for the current one.

    Returns:
        Plain values by name, not validated.

    Raises:
        MiramError: The folder is in no project, or there is no such environment.
    """
    start = start or Path.cwd()
    project = find_kedro_project(start)
    if project is None:
        raise MiramError(f"{start} is in no Kedro project: run this where conf/ and src/ are")
    folder = project / "conf"
    if env is not None and not (folder / env).is_dir():
        known = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise MiramError(f"there is no environment {env!r}: one of {', '.join(known)}")
    # Importing this sets up logging, which only a project should do.
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(folder), env=env, **settings.CONFIG_LOADER_ARGS
    )
    try:
        parameters: dict[str, Any] = loader["parameters"]
    except MissingConfigException as error:
        raise MiramError(f"there are no parameters under {folder}") from error
    return parameters
