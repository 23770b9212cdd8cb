"""The CLAIM 2024 checklist of a study, filled where the run knows the answer."""

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from miram.reporting.cards import claim_data, claim_methods, claim_results
from miram.reporting.cards.claim_answer import Answer, Status
from miram.reporting.cards.claim_items import CLAIM_2024
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import markdown_environment

_ANSWERS = (
    claim_data.design,
    claim_data.data,
    claim_data.reference,
    claim_data.partitions,
    claim_methods.model,
    claim_methods.training,
    claim_methods.evaluation,
    claim_data.cases,
    claim_results.performance,
    claim_results.discussion,
    claim_results.other,
)


@dataclass(frozen=True)
class ClaimItem:
    """One item of the checklist with its answer.

    Attributes:
        number: 1 to 44, as published.
        section: Where it belongs in a manuscript.
        asks: What has to be told, in our words.
        status: Who answers it.
        answer: What the run knows, or why the item does not apply.
        left: What the author has to add; empty unless the item is the author's.
    """

    number: int
    section: str
    asks: str
    status: Status
    answer: str
    left: str


def claim_checklist(study: Study) -> list[ClaimItem]:
    """Fill the checklist from a study.

    What the run does not know is left to the author: an item is `answered` only where nothing
    has to be added.

    Args:
        study: The finished study.

    Returns:
        The 44 items in their order.
    """
    answers: dict[int, Answer] = {}
    for part in _ANSWERS:
        answers.update(part(study))
    return [
        ClaimItem(
            number=item.number,
            section=item.section,
            asks=item.asks,
            status=answers[item.number].status,
            answer=answers[item.number].known,
            left=answers[item.number].left,
        )
        for item in CLAIM_2024
    ]


def claim_markdown(items: list[ClaimItem]) -> str:
    """The checklist as Markdown.

    Args:
        items: Items of `claim_checklist`.
    """
    return markdown_environment().get_template("claim.md").render(_context(items))


def _context(items: list[ClaimItem]) -> dict[str, Any]:
    """What the template shows.

    Args:
        items: Items of `claim_checklist`.

    Returns:
        `claim_sections`: items by section; `claim_counts`: number of items by status.
    """
    counts = Counter(item.status for item in items)
    return {
        "claim_sections": {
            name: list(found) for name, found in groupby(items, key=lambda item: item.section)
        },
        "claim_counts": {str(status): counts[status] for status in Status},
    }
