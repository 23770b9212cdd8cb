"""The REST interface of the NBIA archive behind TCIA, version 4: what a download needs of it.

Three endpoints, all public and without a token: `getSeries` lists a collection with counts and
sizes in one answer, `getSeriesSize` gives them for one series (slowly), and
`getImageWithMD5Hash` streams a zip of its files together with `md5hashes.csv`.
Reference: NBIA Search REST API Guide of TCIA, and the server's sources (CBIIT/NBIA-TCIA).
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from miram.errors import MiramError
from miram.mammography.decoding.headers import is_uid

PUBLIC_URL = "https://services.cancerimagingarchive.net/nbia-api/services/v4"

_CHUNK = 2**18
_BUSY = {408, 425, 429}


class NbiaError(MiramError):
    """A request that failed; `passing` where the same one may succeed a little later."""

    def __init__(self, message: str, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class StoppedError(Exception):
    """The download is to stop."""


@dataclass(frozen=True)
class Series:
    """One series as the server lists it: number of files and their bytes, None where not given.

    In CBIS-DDSM the patient id is the folder name, such as Mass-Test_P_00016_LEFT_CC.
    """

    uid: str
    patient_id: str = ""
    images: int | None = None
    size: int | None = None


class NbiaClient:
    """Requests to one server; may be used by several threads.

    `base_url` goes up to the version; `timeout` is the longest silence in seconds; when `stop` is
    set, a running transfer ends with `StoppedError`.
    """

    def __init__(self, base_url: str, timeout: float, stop: threading.Event) -> None:
        self.base_url, self.timeout, self.stop = base_url.rstrip("/"), timeout, stop
        self._sessions = threading.local()  # a requests.Session is not safe to share

    def list_collection(self, collection: str) -> dict[str, Series]:
        """List the series of a collection by UID, in the order of the server."""
        rows = self._json("getSeries", {"Collection": collection})
        series = (
            Series(
                str(row.get("SeriesInstanceUID", "")),
                str(row.get("PatientID") or ""),
                _whole(row.get("ImageCount")),
                _whole(row.get("FileSize")),
            )
            for row in rows
        )
        return {one.uid: one for one in series if is_uid(one.uid)}  # they name folders

    def look_up(self, uid: str) -> Series | None:
        """Ask for count and size of one series; None where the server does not know it."""
        rows = self._json("getSeriesSize", {"SeriesInstanceUID": uid})
        images = _whole(rows[0].get("ObjectCount")) if rows else None
        if not images:
            return None
        return Series(uid, images=images, size=_whole(rows[0].get("TotalSizeInBytes")))

    def fetch_zip(self, uid: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Stream the zip of a series to a file; a broken transfer leaves nothing of use there.

        `on_bytes` is called with the length of every piece that has arrived.
        """
        with self._get("getImageWithMD5Hash", {"SeriesInstanceUID": uid}) as response:
            try:
                with path.open("wb") as file:
                    for piece in response.iter_content(_CHUNK):
                        if self.stop.is_set():
                            raise StoppedError
                        file.write(piece)
                        on_bytes(len(piece))
            except requests.RequestException as error:
                raise NbiaError(f"the transfer broke off: {_brief(error)}", True) from error

    def _json(self, endpoint: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
        with self._get(endpoint, parameters) as response:
            try:
                if response.status_code == 204 or not response.content.strip():
                    return []
                rows = response.json()
            except requests.JSONDecodeError as error:
                message = f"{endpoint} of {self.base_url} answers no JSON: is the address right?"
                raise NbiaError(message, False) from error
            except requests.RequestException as error:
                raise NbiaError(f"{endpoint} broke off: {_brief(error)}", True) from error
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise NbiaError(f"{endpoint} of {self.base_url} answers no list of series", False)
        return rows

    def _get(self, endpoint: str, parameters: dict[str, str]) -> requests.Response:
        session = getattr(self._sessions, "session", None)
        if session is None:
            session = self._sessions.session = requests.Session()
        url = f"{self.base_url}/{endpoint}"
        try:
            response: requests.Response = session.get(
                url, params=parameters, timeout=self.timeout, stream=True
            )
        except (requests.ConnectionError, requests.Timeout) as error:
            host = urlsplit(url).hostname
            raise NbiaError(
                f"no answer from {host} to {endpoint} ({_cause(error)}): is there a network, or a "
                "proxy to name in HTTPS_PROXY?",
                True,
            ) from error
        except requests.RequestException as error:
            raise NbiaError(f"{url} cannot be asked: {_brief(error)}", False) from error
        if not response.ok:
            code = response.status_code
            response.close()
            raise NbiaError(f"{url} answers {code}", code >= 500 or code in _BUSY)
        return response


def _whole(value: object) -> int | None:
    """Read a count or a size, which the server writes as 3, "3" or "3.1E7"."""
    try:
        return int(float(str(value)))
    except (ValueError, OverflowError):
        return None


def _cause(error: Exception) -> str:
    """What kept a connection from being made, without the wrappers of urllib3."""
    found = re.findall(r"\[Errno -?\d+\] ([^)\"']+)", str(error))
    return found[-1].strip() if found else _brief(error)


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
