"""What a section of the page is."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from miram.reporting.facts.study import Study


class Section(ABC):
    """One section of the page: its heading, what it shows of a study, and the template for that.

    Attributes:
        title: Heading, and entry in the table of contents.
        template: Jinja template, in `miram/reporting/templates` or beside the file of the class.
            It sees the values of `data` and those of `miram.reporting.page.shared_facts`.
        folded: Whether a reader opens it, by its heading.
    """

    title: ClassVar[str]
    template: ClassVar[str]
    folded: ClassVar[bool] = True

    @property
    def anchor(self) -> str:
        """The section's id on the page, by its template."""
        return self.template.removesuffix(".html").replace("_", "-")

    def applies(self, study: Study) -> bool:
        """Whether the page has this section."""
        return True

    @abstractmethod
    def data(self, study: Study) -> dict[str, Any]:
        """Values for the template.

        `charts`, if there, holds plotly figures by the id of their place, which is unique on the
        page; `{{ chart(id, label) }}` of `macros.html` puts them there. `line`, if there, is its
        result in one line, beside the heading.
        """
