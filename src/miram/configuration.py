"""The base of every typed configuration: frozen, validated, closed to unknown names."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A validated set of values with its units and ranges.

    A subclass stands beside the class or function it configures. A name that the
    subclass does not declare is an error, so that a typo in a parameter cannot pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
