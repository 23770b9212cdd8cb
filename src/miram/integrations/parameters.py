"""The project's configuration, read as `kedro run` reads it."""

import difflib
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import click
import yaml
from kedro.config import MissingConfigException
from kedro.utils import find_kedro_project

from miram.configuration import flatten
from miram.errors import MiramError
from miram.serving.registry.tracking import URI_VARIABLE, MlflowConfig

log = logging.getLogger(__name__)

PATH_PARAMETERS = {"raw_root", "data_root"}
_GLOBALS = {"source", *PATH_PARAMETERS}
_LOCAL = "local"
_MOST_NAMED = 10


def load_parameters(env: str | None = None, params: str | None = None) -> dict[str, Any]:
    """Read the parameters of an environment: plain values by name, not validated.

    Args:
        env: The environment; `local` if not given.
        params: Values that go over the files', as `kedro run --params` takes them.

    Raises:
        MiramError: The folder is in no project, there is no such environment, or a setting has a
            name that nothing reads.
    """
    project = _project()
    given = _given(params) if params else {}
    loader = _loader(project, env, given)
    try:
        parameters: dict[str, Any] = loader["parameters"]
    except MissingConfigException as error:
        raise MiramError(f"there are no parameters under {project / 'conf'}") from error
    check_names_of_settings(loader, given)
    return parameters


def given_parameters(context: click.Context, option: click.Parameter, given: Any) -> dict[str, Any]:
    """Run-time parameters as Kedro reads them; only a folder called 2024 or 007 is no number."""
    from kedro.framework.cli.utils import _split_params

    found: dict[str, Any] = _split_params(context, option, given)
    typed = [item.partition("=") for item in given.split(",")] if isinstance(given, str) else []
    for name, _, path in typed:
        if not isinstance(found.get(name.strip(), ""), str) and name.strip() in PATH_PARAMETERS:
            found[name.strip()] = path.strip()
    return found


def load_mlflow(env: str | None = None, data_root: Path | None = None) -> MlflowConfig:
    """Read `mlflow.yml`; `data_root` is where a local store lies.

    Raises:
        MiramError: The folder is in no project, or there is no such environment.
    """
    project = _project()
    params = {"data_root": str(data_root)} if data_root else {}
    values = _loader(project, env, params)["mlflow"]
    return MlflowConfig.model_validate(values).within(project)


def registry_uri(env: str | None = None, data_root: Path | None = None) -> str:
    """Address of the model registry for commands: MLFLOW_TRACKING_URI, else of `mlflow.yml`."""
    if given := os.environ.get(URI_VARIABLE):
        return given
    if find_kedro_project(Path.cwd()) is None:
        raise MiramError(
            f"which registry? Set {URI_VARIABLE}, or run this in the project, whose mlflow.yml "
            "names one"
        )
    return load_mlflow(env, data_root).tracking_uri


def check_settings(loader: Any, given: Mapping[str, Any]) -> None:
    """Refuse a setting that is wrong, also one that the pipelines of this run do not read.

    Kedro validates what a run reads. A typo in the settings of a later pipeline would be found
    only there, and one in the name of a group never.

    Args:
        loader: Reads the configuration, with the run-time parameters over it.
        given: The run-time parameters.

    Raises:
        MiramError: A name is unknown, or an option of a source is wrong.
        ParameterValidationError: A value is impossible, or a name within a group unknown.
    """
    from kedro.framework.project import pipelines
    from kedro.validation.parameter_validator import ParameterValidator

    from miram.mammography.sources import make_source

    check_names_of_settings(loader, given)
    ParameterValidator(dict(pipelines)).validate_raw_params(loader["parameters"])
    for name, options in loader["parameters"]["sources"].items():
        if options:  # without any, a source may be one that has to be given some
            make_source(name, options)


def check_names_of_settings(loader: Any, given: Mapping[str, Any] | None = None) -> None:
    """Refuse files, groups and run-time parameters that nothing reads.

    Args:
        loader: Reads the configuration, with the run-time parameters over it.
        given: The run-time parameters.

    Raises:
        MiramError: There is one; the nearest known names are suggested.
    """
    from kedro.framework.project import pipelines

    from miram.pipeline_registry import register_pipelines

    # All of them, with all methods, whatever an earlier run in this process was about.
    pipelines.configure(register_pipelines.__module__)
    names = (loader.base_env, loader.env or loader.default_run_env)
    folders = [Path(loader.conf_source) / name for name in names]
    _check_files(Path(loader.conf_source), folders, loader.config_patterns)
    for name in loader["globals"]:
        if name not in _GLOBALS and (near := difflib.get_close_matches(name, _GLOBALS, n=1)):
            raise MiramError(f"unknown name {name!r} in globals.yml: did you mean {near[0]}?")
    inputs = {name for pipeline in pipelines.values() for name in pipeline.inputs()}
    read = {name.removeprefix("params:") for name in inputs if name.startswith("params:")}
    for name in _unread(loader["parameters"], read | PATH_PARAMETERS & set(given or ())):
        if name in PATH_PARAMETERS:
            raise MiramError(
                f"{name} is not read from a file of parameters: give it as --params {name}=..., "
                "or in the globals.yml of the environment"
            )
        _refuse(name, read, loader["parameters"])


def _check_files(
    conf: Path, folders: Collection[Path], patterns: Mapping[str, Collection[str]]
) -> None:
    kinds = [pattern for kind in patterns.values() for pattern in kind]
    for folder in folders:
        for path in sorted(folder.rglob("*.y*ml")):
            if not any(fnmatch(path.relative_to(folder).as_posix(), kind) for kind in kinds):
                raise MiramError(
                    f"{path} is not read: files of settings are known by the beginning of their "
                    f"names ({', '.join(patterns)}). Call it parameters_{path.name}, if parameters "
                    "stand in it"
                )
    for path in sorted(conf.glob("*.y*ml")):
        if not path.name.startswith("logging"):
            raise MiramError(f"{path} is not read: move it into {conf / _LOCAL}")


def _unread(values: Mapping[str, Any], read: Collection[str], group: str = "") -> Iterator[str]:
    """Names of settings, as far up as possible, in which nothing is read."""
    for key, value in values.items():
        name = f"{group}{key}"
        if name in read or str(key).startswith("_"):  # an anchor, for other settings to refer to
            continue
        if isinstance(value, dict) and any(one.startswith(f"{name}.") for one in read):
            yield from _unread(value, read, f"{name}.")
        else:
            yield name


def _refuse(name: str, read: Collection[str], parameters: Mapping[str, Any]) -> None:
    group, _, last = name.rpartition(".")
    below = [one for one in flatten(parameters) if one.endswith(f".{last}") and one != name]
    beside = {".".join(one.split(".")[: name.count(".") + 1]) for one in {*read, *PATH_PARAMETERS}}
    beside = {one for one in beside if one.startswith(group)}
    near = sorted(below, key=lambda one: one.count("."))[:3]
    near = near or difflib.get_close_matches(name, beside, n=3) or sorted(beside)
    raise MiramError(f"unknown parameter {name!r}: did you mean {' or '.join(near)}?")


@cache
def warn_of_ignored(conf: Path, env: str | None) -> None:
    """Log the settings of `conf/local` that an environment of another name leaves aside.

    Kedro lays one folder over `conf/base`: the named one, or `conf/local` where none is named.
    """
    from miram.integrations.config_loader import CREDENTIALS

    if env in (None, _LOCAL):
        return
    hidden = any((conf / str(env)).glob(f"**/{CREDENTIALS}*"))
    for path in sorted((conf / _LOCAL).glob("**/*.y*ml")):
        place = path.relative_to(conf / _LOCAL)
        if not hidden and any(part.startswith(CREDENTIALS) for part in place.parts):
            continue  # these are read
        names = list(flatten(yaml.safe_load(path.read_text(encoding="utf-8")) or {}))
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            log.warning(
                "--env %s does not read %s; copy what it shall have (%s%s) into %s",
                *(env, path, ", ".join(names[:_MOST_NAMED]), more, conf / env),
            )


def _given(params: str) -> dict[str, Any]:
    try:
        with click.Context(click.Command("miram")) as context:
            return given_parameters(context, click.Option(["--params"]), params)
    except click.UsageError as error:
        raise MiramError(error.message) from error


def _project() -> Path:
    project: Path | None = find_kedro_project(Path.cwd())
    if project is None:
        raise MiramError(f"{Path.cwd()} is in no Kedro project: run this where conf/ and src/ are")
    return project


def conf_folder(given: str | None = None) -> Path:
    """Folder of the settings of the project that this is run in, or the one that is given."""
    from kedro.framework.project import settings

    project = find_kedro_project(Path.cwd()) or Path.cwd()
    return Path(given or Path(project) / settings.CONF_SOURCE)


def check_environment(conf: Path, env: str | None) -> None:
    """Refuse an environment that there is not.

    Raises:
        MiramError: `conf` has no folder of that name; those that it has are named.
    """
    if env is not None and not (conf / env).is_dir():
        known = sorted(path.name for path in conf.iterdir() if path.is_dir())
        raise MiramError(f"there is no environment {env!r}: one of {', '.join(known)}")


def _loader(project: Path, env: str | None, runtime_params: dict[str, Any] | None = None) -> Any:
    folder = project / "conf"
    check_environment(folder, env)
    _bootstrap(project)
    warn_of_ignored(folder, env)
    return config_loader(folder, env, runtime_params)


@cache
def _bootstrap(project: Path) -> None:
    # Importing this sets up logging, which only a project should do.
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)


def config_loader(conf: str | Path, env: str | None, params: dict[str, Any] | None = None) -> Any:
    """Kedro's loader of a configuration, as the settings of the project want it."""
    from kedro.framework.project import settings

    return settings.CONFIG_LOADER_CLASS(
        conf_source=str(conf), env=env, runtime_params=params, **settings.CONFIG_LOADER_ARGS
    )
