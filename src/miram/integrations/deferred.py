"""Typed parameters whose classes are costly to import.

Kedro reads the annotations of every node when it lists pipelines. A class that needs torch
would make each such command wait for it. The stand-in made here imports the real class only
when there are values to validate.
"""

from importlib import import_module
from typing import Any

from pydantic import BaseModel, ValidationError

from miram.configuration import explain
from miram.errors import MiramError


def deferred(module: str, name: str) -> Any:
    """Make a stand-in for a configuration class.

    Args:
        module: Where the class is defined.
        name: Name of the class.

    Returns:
        A pydantic class whose `model_validate` gives an instance of the real class.
    """

    class Deferred(BaseModel):
        @classmethod
        def model_validate(cls, obj: Any, **options: Any) -> Any:
            real: type[BaseModel] = getattr(import_module(module), name)
            try:
                return real.model_validate(obj, **options)
            except ValidationError as error:
                raise MiramError(explain(error, real)) from None

    Deferred.__name__ = Deferred.__qualname__ = name
    return Deferred
