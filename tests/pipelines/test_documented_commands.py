"""Commands of the documentation that are cheap, run word for word on a finished study.

`tests/test_docs.py` reads every command; here those of `miram` run that need nothing but a study.
"""

import re
import shlex

import pytest
from miram_command import call_miram

NAMES = "compare|export|report|verify"
COMMAND = re.compile(rf"(?:^|`)(miram (?:{NAMES}) [^`#\n]+)", re.MULTILINE)


def commands(pages):
    found = {command.strip() for page in pages for command in COMMAND.findall(page.read_text())}
    # The browser of whoever runs the tests stays closed, and other folders than `data` are theirs.
    left_out = ("--open", "--pdf", "/data/")
    return sorted(command for command in found if not any(word in command for word in left_out))


@pytest.fixture
def workplace(copied, tmp_path, monkeypatch):
    """A folder as the documentation assumes it: a finished study in `data`, and a second one."""
    (tmp_path / "data").symlink_to(copied)
    (copied / "fair").symlink_to(copied)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_cheap_commands_of_the_documentation_run_as_they_stand(project, workplace, capsys):
    pages = [project / "README.md", *project.glob("docs/*.md")]
    asked = commands(pages)
    assert {command.split()[1] for command in asked} == set(NAMES.split("|")) - {"report"}
    for command in [*asked, "miram report"]:
        status = call_miram(*shlex.split(command)[1:])
        output = capsys.readouterr()
        assert not status, f"{command}: {output.err}"
        assert output.out, command
    written = {path.name for path in (workplace / "exported").iterdir()}
    assert written == {"timm", "encoder.onnx", "hugging_face"}


def test_the_encoder_gets_into_code_of_ones_own_as_its_page_says(project, workplace, capsys):
    page = (project / "docs/take_the_encoder.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out.startswith("torch.Size([2, ")
