"""List every setting with its default, its values and its meaning, from the classes that take them.

python docs/write_settings.py    # writes docs/settings.md
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from miram.evaluation.config import AssessmentConfig
from miram.evaluation.features.handcrafted import HandcraftedConfig
from miram.evaluation.features.pooling import FeatureConfig
from miram.finetuning.config import FinetuningConfig
from miram.mammography.crops.cut import CropConfig
from miram.mammography.phantom.config import PhantomConfig
from miram.mammography.sources import SOURCES
from miram.mammography.splits import SplitConfig
from miram.models.attention import ATTENTIONS
from miram.models.attention_benchmark import AttentionBenchmarkConfig
from miram.models.decoders import DECODERS
from miram.models.encoder import EncoderConfig
from miram.models.export.export import ExportConfig
from miram.models.masking import MASKINGS
from miram.models.methods.kinds import METHOD_KINDS
from miram.serving.embed import EmbeddingConfig
from miram.serving.registry.decision import PromotionConfig
from miram.serving.registry.tracking import MlflowConfig
from miram.training.config import TrainingConfig
from miram.training.distributed.cluster import EngineConfig

PAGE = Path(__file__).parent / "settings.md"

# What a name of the parameters is validated as.
GROUPS: dict[str, type[BaseModel]] = {
    "encoder": EncoderConfig,
    "training": TrainingConfig,
    "engine": EngineConfig,
    "rois": CropConfig,
    "splits": SplitConfig,
    "features": FeatureConfig,
    "evaluation": AssessmentConfig,
    "handcrafted": HandcraftedConfig,
    "finetuning": FinetuningConfig,
    "phantom": PhantomConfig,
    "embed": EmbeddingConfig,
    "export": ExportConfig,
    "promote": PromotionConfig,
    "benchmark": AttentionBenchmarkConfig,
}

# Settings that come in kinds, and where such a one stands.
KINDS: dict[str, tuple[str, Mapping[str, type[BaseModel]]]] = {
    "Sources": ("sources.<kind>", SOURCES),
    "Methods": ("<method>.method", METHOD_KINDS),
    "Decoders": ("an item of <method>.method.decoders", DECODERS),
    "Attentions": ("attention of a decoder or of the encoder", ATTENTIONS),
    "Maskings": ("<method>.method.masking", MASKINGS),
}

_WORDS = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}
_WORDS |= {NoneType: "`null`", Any: "any"}
_LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}

HEAD = """# All settings

Written by `python docs/write_settings.py` from the classes that take them. A setting is given as
`--params training.epochs=100`, or in a file `parameters*.yml` of `conf/local` or of an environment
of yours. `conf/base` sets some of them otherwise than the defaults here, and all that are
**required**.
"""


def rows(config: type[BaseModel], before: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Name, default, values and meaning of the settings of a class, groups within it unfolded."""
    for name, field in config.model_fields.items():
        inner, kinds = field.annotation, kinds_of(field.annotation, *field.metadata)
        if isinstance(inner, type) and issubclass(inner, BaseModel) and not kinds:
            yield from rows(inner, f"{before}{name}.")
        elif name != "kind" or len(get_args(inner)) != 1:  # the one that the heading says
            may = (
                f"kinds of [{kinds}](#{kinds.lower()})" if kinds else values(inner, *field.metadata)
            )
            yield f"{before}{name}", default(field), may, field.description or ""
            for between, each in () if kinds else models_within(inner):
                yield from rows(each, f"{before}{name}{between}.")


def models_within(declared: Any, between: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Classes of settings that a mapping, a list or a choice holds, and how their names go on."""
    if isinstance(declared, type) and issubclass(declared, BaseModel):
        yield between, declared
        return
    origin = get_origin(declared)
    between += ".<name>" if origin is dict else "[]" if origin in (tuple, list, Sequence) else ""
    for part in get_args(declared):
        yield from models_within(part, between)


def kinds_of(*declared: Any) -> str:
    """The heading of the kinds that a declaration asks for; empty where it asks for none."""
    for part in declared:
        for title, (_, registry) in KINDS.items():
            if part is registry:
                return title
        if found := kinds_of(*get_args(part)):
            return found
    return ""


def default(field: FieldInfo) -> str:
    """As it would stand in YAML."""
    if field.is_required():
        return "**required**"
    return f"`{to_json(field.get_default(call_default_factory=True)).decode()}`"


def values(declared: Any, *metadata: Any) -> str:
    """What a setting may be, in words."""
    return "".join((_words(declared), *(_limit(one) for one in metadata)))


def _words(declared: Any) -> str:
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is Annotated:
        return values(arguments[0], *arguments[1:])
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_words(one) for one in arguments)
    if origin in (tuple, list, Sequence):
        one = {argument for argument in arguments if argument is not Ellipsis}
        return f"list of {' and '.join(sorted(map(_words, one)))}"
    return _WORDS.get(origin or declared, "mapping")


def _limit(one: Any) -> str:
    """A bound such as `, at least 16`."""
    for name, words in _LIMITS.items():
        if (bound := getattr(one, name, None)) is not None:
            return f", {words} {bound:,}" if isinstance(bound, int) else f", {words} {bound:g}"
    return ""


def table(config: type[BaseModel]) -> str:
    """The settings of a class in Markdown."""
    cells = [f"| `{name}` | {at} | {may} | {means} |" for name, at, may, means in rows(config)]
    if not cells:
        return "No settings.\n"
    return (
        "\n".join(("| setting | default | values | meaning |", "|---|---|---|---|", *cells)) + "\n"
    )


def about(config: type[BaseModel]) -> str:
    """What the class says of itself."""
    text = inspect.cleandoc(config.__doc__ or "")
    return re.split(r"\n\n(?:Args|Attributes|Raises):", text)[0]


def page() -> str:
    """All groups, then all kinds."""
    parts = [HEAD]
    parts += [f"## {name}\n\n{about(one)}\n\n{table(one)}" for name, one in GROUPS.items()]
    parts.append(f"## mlflow.yml\n\n{about(MlflowConfig)}\n\n{table(MlflowConfig)}")
    for title, (where, registry) in KINDS.items():
        parts.append(f"## {title}\n\nIn `{where}`.\n")
        parts += [
            f"### kind: {kind}\n\n{about(one)}\n\n{table(one)}" for kind, one in registry.items()
        ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
