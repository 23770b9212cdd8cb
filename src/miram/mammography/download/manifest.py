"""The `.tcia` manifest of the NBIA Data Retriever: which series a download shall fetch."""

from pathlib import Path

from miram.errors import MiramError
from miram.mammography.decoding.headers import is_uid

_MARKER = "ListOfSeriesToDownload="


def read_manifest(path: Path) -> tuple[str, ...]:
    """Read the series UIDs of a manifest.

    The file holds `key=value` lines in no fixed number, then the marker
    `ListOfSeriesToDownload=`, then a UID per line.

    Args:
        path: A `.tcia` file.

    Returns:
        The UIDs in the order of the file, each once.

    Raises:
        MiramError: There is no such file, it has no marker or no UID, or a line is no UID.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MiramError(f"{path} cannot be read as a TCIA manifest: {error}") from error
    marks = [number for number, line in enumerate(lines) if line.strip() == _MARKER]
    if not marks:
        raise MiramError(
            f"{path} has no line {_MARKER}: it is no TCIA manifest; "
            "download the .tcia file from the page of the collection"
        )
    uids = []
    for number, line in enumerate(lines[marks[0] + 1 :], start=marks[0] + 2):
        uid = line.strip()
        if uid and not is_uid(uid):
            raise MiramError(f"{path}, line {number}: {uid!r} is no series UID")
        if uid:
            uids.append(uid)
    if not uids:
        raise MiramError(f"{path} lists no series after {_MARKER}")
    return tuple(dict.fromkeys(uids))
