"""Studies with other parameters, and what a reader sees of a page."""

import re
from dataclasses import replace
from typing import Any

from miram.reporting.facts.study import Study


def with_parameters(study: Study, **parameters: Any) -> Study:
    return replace(study, parameters={**study.parameters, **parameters})


def words(html: str) -> str:
    """The text of a page in one line, without tags, scripts and styles."""
    html = re.sub(r"(?s)<script.*?</script>|<style.*?</style>", " ", html)
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())
