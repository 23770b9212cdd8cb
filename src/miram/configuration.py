"""The base of every typed configuration: frozen, validated, closed to unknown names."""

import difflib
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from miram.errors import MiramError


class Config(BaseModel):
    """A validated set of values with its units and ranges.

    A subclass stands beside the class or function it configures. A name that the
    subclass does not declare is an error, so that a typo in a parameter cannot pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate values, telling what is wrong in a line for each mistake.

        Args:
            obj: Values by name.
            options: Options of pydantic.

        Raises:
            MiramError: A value is impossible or a name unknown.
        """
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise MiramError(explain(error, tuple(cls.model_fields))) from None


def explain(error: ValidationError, names: tuple[str, ...] = ()) -> str:
    """Tell the mistakes that pydantic found, in the user's words.

    Args:
        error: What pydantic raised.
        names: Names that were possible at the top, for suggestions.
    """
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(item["loc"][-1]), names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            lines.append(f"there is no setting {place}{hint}")
            continue
        message = item["msg"].removeprefix("Value error, ")
        given = "" if isinstance(item["input"], dict) else f" (got {item['input']!r})"
        lines.append(f"{place}: {message}{given}" if place else message)
    return "; ".join(lines)
