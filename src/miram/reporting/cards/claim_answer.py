"""An answer to an item of a checklist: by the run, by the author, or that it does not apply."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Who answers an item."""

    ANSWERED = "answered"
    AUTHOR = "author to complete"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Answer:
    """What the run knows about an item, and what only the author can add.

    Attributes:
        status: Who answers it.
        known: What the run knows, or why the item does not apply; of an item for the author it
            may be empty.
        left: What the author has to add; empty unless the item is the author's.
    """

    status: Status
    known: str
    left: str = ""

    def __post_init__(self) -> None:
        said = self.left if self.status is Status.AUTHOR else self.known
        if not said.strip():
            raise ValueError(f"an item cannot be {self.status!r} with an empty text")
        if self.left and self.status is not Status.AUTHOR:
            raise ValueError(f"an item that the author has to add to is not {self.status!r}")


def answered(known: str) -> Answer:
    """The run answers the whole item."""
    return Answer(Status.ANSWERED, known)


def author(left: str, known: str = "") -> Answer:
    """The author has to add something, to nothing or to what the run knows."""
    return Answer(Status.AUTHOR, known, left)


def not_applicable(reason: str) -> Answer:
    """The item does not apply."""
    return Answer(Status.NOT_APPLICABLE, reason)
