"""Kedro's loader of the configuration, with errors that say which file is at fault."""

import copy
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from textwrap import shorten
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from miram.errors import MiramError

# What YAML, OmegaConf and Kedro raise on files that are no settings.
_UNREADABLE = (
    *(YAMLError, OmegaConfBaseException, RecursionError, OSError),
    *(ValueError, TypeError, AttributeError),
)

CREDENTIALS = "credentials"
_SUFFIXES = (".yml", ".yaml", ".json")  # what Kedro reads

_LONGEST = 400  # characters of a message: OmegaConf repeats the whole place, however deep


class ReadableConfigLoader(OmegaConfigLoader):
    """Reads the files of an environment over those of `base`, as Kedro does, but only once.

    A run asks a dozen times, and reading takes longer than many a node. The credentials of `local`
    are read under every environment that has none of its own.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._read: dict[str, dict[str, Any]] = {}
        super().__init__(*arguments, **options)

    def __setitem__(self, key: str, value: Any) -> None:
        """Take values in place of the files'."""
        self._read.pop(key, None)
        super().__setitem__(key, value)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Read, merge and resolve the files of one kind, such as `parameters`; a copy of its own.

        Raises:
            MiramError: A file is no YAML, is not in UTF-8, has a name twice or no names at all, or
                a value refers to what is not there.
        """
        if key in self._read:
            return copy.deepcopy(self._read[key])
        env = self.env
        try:
            if key == CREDENTIALS and self._own_keys_alone(env or self.default_run_env):
                self.env = self.default_run_env  # keys are one's own, whatever is run
            found: dict[str, Any] = super().__getitem__(key)
        except MissingConfigException:
            raise
        except _UNREADABLE as error:
            fault = next(self._faults(key), _in_one_line(error))
            raise MiramError(f"the settings cannot be read: {fault}; mend the file") from error
        finally:
            self.env = env
        self._read[key] = copy.deepcopy(found)
        return found

    def _faults(self, key: str) -> Iterator[str]:
        """Files that cannot be read by themselves, and why."""
        for env in (self.base_env, self.env or self.default_run_env):
            for path in self._files(key, env):
                try:
                    with path.open(encoding="utf-8") as file:
                        content = OmegaConf.load(file)
                except _UNREADABLE as error:
                    yield f"{path}: {_in_one_line(error)}"
                else:
                    if not isinstance(content, DictConfig):
                        yield f"{path} holds a list, no names with values"

    def _own_keys_alone(self, env: str) -> bool:
        """Whether `local` has credentials and the environment has none."""
        local = self._files(CREDENTIALS, self.default_run_env)
        return any(local) and not any(self._files(CREDENTIALS, env))

    def _files(self, key: str, env: str) -> Iterator[Path]:
        """Files of one kind in an environment."""
        folder = Path(self.conf_source) / env
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            asked = any(fnmatch(name, one) for one in self.config_patterns[key])
            if asked and path.suffix in _SUFFIXES and path.is_file():
                yield path


def _in_one_line(error: Exception) -> str:
    return shorten(str(error), _LONGEST)
