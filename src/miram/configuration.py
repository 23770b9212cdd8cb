"""The base of every typed configuration: frozen, validated, closed to unknown names."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, TypeVar, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    NonNegativeInt,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from miram.errors import MiramError

Item = TypeVar("Item")


def listed(given: Any) -> Any:
    """A list from a text such as `0+1+2`, or from a single number; anything else as it is.

    A run-time parameter of Kedro cannot hold a list with commas.
    """
    if isinstance(given, str):
        return tuple(part.strip() for part in given.split("+"))
    return (given,) if isinstance(given, int) else given


def _once(given: tuple[Item, ...]) -> tuple[Item, ...]:
    if len(set(given)) < len(given):
        raise ValueError(f"each once, got {'+'.join(map(str, given))}")
    return given


Listed = Annotated[tuple[Item, ...], BeforeValidator(listed), AfterValidator(_once)]
"""Different values, joined by + where they stand in one text."""

Seeds = Listed[NonNegativeInt]


class Config(BaseModel):
    """A validated set of values with its units and ranges.

    A subclass stands beside the class or function it configures. A name that the
    subclass does not declare is an error, so that a typo in a parameter cannot pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    renamed: ClassVar[dict[str, str]] = {}  # new names of settings, which errors tell

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, given: Any) -> Any:
        for old, new in cls.renamed.items():
            if isinstance(given, dict) and old in given:
                raise PydanticCustomError("renamed", "{old} is now {new}", {"old": old, "new": new})
        return given

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate values by name, saying what is wrong with each.

        Raises:
            MiramError: A value is impossible or a name unknown.
        """
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise MiramError(explain(error, cls)) from None


Member = TypeVar("Member", bound=Config)


class Registry(dict[str, type[Member]]):
    """The configurations of one family by `kind`; `add` takes further ones at any time.

    A setting that holds one of them is declared as `Annotated[Base, REGISTRY]`. Each member has a
    field `kind` of one possible value; `noun` is what messages call it, `default` the kind of
    values that name none.
    """

    __hash__ = object.__hash__  # type: ignore[assignment]  # typing asks for it

    def __init__(self, noun: str, *members: type[Member], default: str | None = None) -> None:
        super().__init__()
        self.noun, self.default = noun, default
        for member in members:
            self.add(member)

    def add(self, member: type[Member]) -> type[Member]:
        """Register a class under its kind; also as a decorator.

        Raises:
            ValueError: Another class has this kind.
        """
        kind = member.model_fields["kind"].default
        if self.setdefault(kind, member) is not member:
            raise ValueError(f"there is a {self.noun} of kind {kind} already")
        return member

    def model_validate(self, given: Any) -> Member:
        """Validate values by name as the configuration of their kind; one of them stays as it is.

        Raises:
            MiramError: There is no such kind, a value is impossible or a name unknown.
        """
        if isinstance(given, tuple(self.values())):
            return cast(Member, given)
        try:
            member = self._member_for(given)
        except PydanticCustomError as error:
            raise MiramError(error.message()) from None
        return member.model_validate(given)

    def _member_for(self, given: Any) -> type[Member]:
        asked = given.get("kind", self.default) if isinstance(given, dict) else given
        if isinstance(given, dict) and asked in self:
            return self[str(asked)]
        near = difflib.get_close_matches(str(asked), self, n=1)
        values = {
            "found": "no kind is given" if asked is None else f"there is no {self.noun} {asked!r}",
            "kinds": ", ".join(self),
            "hint": f"; did you mean {near[0]}?" if near else "",
        }
        raise PydanticCustomError("kind", "{found}: kind is one of {kinds}{hint}", values)

    def _validate(self, given: Any) -> Member:
        if isinstance(given, tuple(self.values())):
            return cast(Member, given)
        # A fault within keeps its place: pydantic joins the errors of an inner validator.
        return self._member_for(given).__pydantic_validator__.validate_python(given)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        # Without a serializer of its own, a member is written by that of its class.
        return core_schema.no_info_plain_validator_function(self._validate)


def explain(error: ValidationError, config: type[BaseModel]) -> str:
    """The mistakes that pydantic found in the values of a configuration, in the user's words."""
    lines = []
    places = [item["loc"] for item in error.errors()]
    for item in error.errors():
        if any(one[: len(item["loc"])] == item["loc"] for one in places if one != item["loc"]):
            continue  # a whole is at fault for one of its parts
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "renamed":
            old, new = item["ctx"]["old"], item["ctx"]["new"]
            lines.append(f"there is no setting {place}{'.' if place else ''}{old}: it is now {new}")
            continue
        if item["type"] == "extra_forbidden":
            *group, name = item["loc"]
            near = difflib.get_close_matches(str(name), _names_in(config, group), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            lines.append(f"there is no setting {place}{hint}")
            continue
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "string_type" and isinstance(item["input"], bool):
            message += ": YAML takes yes, no, on and off for true and false; put it into quotes"
        nested = isinstance(item["input"], dict) or item["type"] == "kind"
        given = "" if nested else f" (got {item['input']!r})"
        lines.append(f"{place}: {message}{given}" if place else message)
    return "; ".join(lines)


def _names_in(config: type[BaseModel], group: Sequence[str | int]) -> list[str]:
    """Names of the settings of a group, given by its place; of all kinds that it may be of."""
    classes = {config}
    for part in group:
        fields = [one.model_fields[str(part)] for one in classes if part in one.model_fields]
        if fields:  # otherwise the number of an item, the key of a mapping or a kind
            classes = _configs_in(*((field.annotation, *field.metadata) for field in fields))
    return sorted({name for one in classes for name in one.model_fields})


def _configs_in(*declared: Any) -> set[type[BaseModel]]:
    """The classes of configurations that a declaration of a field is made of."""
    found: set[type[BaseModel]] = set()
    for part in declared:
        if isinstance(part, Registry):
            found |= set(part.values())
        elif isinstance(part, type) and issubclass(part, BaseModel):
            found.add(part)
        else:
            found |= _configs_in(*(part if isinstance(part, tuple) else get_args(part)))
    return found


def flatten(values: Any, name: str = "") -> dict[str, Any]:
    """Nested settings as dotted names and single values, such as `training.optimizer.base_lr`.

    Mappings, models and lists of these are nested; `name` is that of the whole.
    """
    if isinstance(values, BaseModel):
        values = values.model_dump(mode="json")
    if isinstance(values, Mapping):
        items = [(str(key), item) for key, item in values.items()]
    elif isinstance(values, list | tuple) and any(
        isinstance(item, Mapping | BaseModel | list | tuple) for item in values
    ):
        items = [(str(place), item) for place, item in enumerate(values)]
    else:
        return {name: values}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= flatten(item, f"{name}.{key}" if name else key)
    return flat
