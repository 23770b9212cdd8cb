"""A small NBIA server on 127.0.0.1 that misbehaves on demand."""

import hashlib
import io
import json
import threading
import time
import zipfile
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HASHES = "md5hashes.csv"


def series_uid(number):
    return f"1.3.6.1.4.1.9590.100.1.2.{number}"


class Archive:
    """Series by UID, and for each a list of faults, one used up per request."""

    def __init__(self):
        self.files, self.patients = {}, {}
        self.unlisted, self.sizes = set(), {}
        self.faults, self.list_faults = defaultdict(list), []
        self.requests = []
        self._lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/nbia-api/services/v4"

    def add(self, number, images=1, length=3000, patient="Mass-Test_P_00016_LEFT_CC"):
        uid = series_uid(number)
        self.files[uid] = {
            f"{i + 1:08d}.dcm": hashlib.sha256(f"{number}/{i}".encode()).digest() * (length // 32)
            for i in range(images)
        }
        self.patients[uid] = patient
        return uid

    def fetched(self):
        """UIDs of all requests for images, in the order in which they came."""
        return [query for endpoint, query in self.requests if endpoint == "getImageWithMD5Hash"]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def _rows(self):
        return [
            {
                "SeriesInstanceUID": uid,
                "PatientID": self.patients[uid],
                "ImageCount": len(files),
                "FileSize": self.sizes.get(uid, sum(map(len, files.values()))),
            }
            for uid, files in self.files.items()
            if uid not in self.unlisted
        ]

    def _zip(self, uid, fault):
        files = dict(self.files[uid])
        hashes = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
        if fault == "wrong hash":
            hashes[next(iter(hashes))] = "0" * 32
        if fault == "short hash":
            hashes = {name: value.lstrip("0") for name, value in hashes.items()}
        if fault == "one image less":
            hashes.pop(next(iter(hashes)))
            files.pop(next(iter(files)))
        if fault == "slip":
            files["../../escaped.dcm"] = b"evil"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
            for name, content in files.items():
                package.writestr(name, content)
            if fault != "no hashes":
                rows = [f'"{name}","{value}"' for name, value in hashes.items()]
                package.writestr(HASHES, "\n".join(['"Filename","MD5Hash"', *rows]) + "\n")
            package.writestr("LICENSE", "CC BY 3.0")
        content = buffer.getvalue()
        return content[: len(content) // 2] if fault == "truncated" else content

    def _handler(archive):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                address = urlsplit(self.path)
                endpoint = address.path.rsplit("/", 1)[1]
                query = next(iter(parse_qs(address.query).values()))[0]
                with archive._lock:
                    archive.requests.append((endpoint, query))
                    image = endpoint == "getImageWithMD5Hash"
                    faults = archive.faults[query] if image else archive.list_faults
                    fault = faults.pop(0) if faults else ""
                if isinstance(fault, int):
                    return self.send(fault, b"")
                if fault == "slow":
                    time.sleep(0.1)
                if endpoint == "getSeries":
                    rows = archive._rows() if query == "CBIS-DDSM" else []
                    body = b"<html>" if fault == "html" else json.dumps(rows).encode()
                    return self.send(200, body)
                if endpoint == "getSeriesSize":
                    files = archive.files.get(query, {})
                    size = f"{sum(map(len, files.values())):.4E}"
                    row = {"TotalSizeInBytes": size, "ObjectCount": len(files)}
                    return self.send(200, json.dumps([row]).encode())
                if query not in archive.files:
                    return self.send(400, b"no access")
                return self.send_chunks(archive._zip(query, fault), fault == "drop")

            def send(self, code, body):
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def send_chunks(self, body, drop):
                """Stream without a length, as the real server does; perhaps break off."""
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                half = len(body) // 2
                for piece in (body[:half], body[half:]):
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    if drop:
                        self.close_connection = True
                        return
                self.wfile.write(b"0\r\n\r\n")

        return Handler
