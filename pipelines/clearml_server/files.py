"""The file server: artifacts, models, datasets and images of tasks, as plain files.

Relied on by ``StorageManager``, ``upload_artifact``, ``OutputModel.update_weights``,
Dataset uploads, debug images, and the deletion of any of these.

Uploads are written to a temporary name and renamed when complete; neither direction
holds more than a small piece in memory. No name leads out of the folder.
"""

import email.parser
import logging
import os
import re
import shutil
import urllib.parse
import uuid
from pathlib import Path

PREFIX = "/files"
# Stored instead of this server's own address, which another run may not get again.
PLACEHOLDER = "http://embedded.clearml.invalid"
PARTIAL = ".partial"
PIECE = 1 << 18
MAX_WENT = 100_000
log = logging.getLogger(__name__)


class BadName(ValueError):
    """A file name that leads elsewhere, or that no file can have."""


class BadUpload(ValueError):
    """The upload is not what its headers promise, or ended early."""


class Files:
    """The folder of uploaded files."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._went = set()
        # what a killed server left half-written
        shutil.rmtree(folder / PARTIAL, ignore_errors=True)
        (folder / PARTIAL).mkdir(parents=True)

    def path(self, name: str) -> Path:
        """Return where the file called `name` (with slashes) lies.

        Raises:
            BadName: The name is empty or unsafe.
        """
        parts = name.strip("/").split("/")
        for part in parts:
            if part in ("", ".", "..") or "\0" in part or len(part.encode()) > 255:
                raise BadName(f"{name!r} is no possible file name")
        if parts[0] == PARTIAL:
            raise BadName(f"{name!r} is no possible file name")
        return self.folder.joinpath(*parts)

    def receive(self, stream, length: int, content_type: str) -> list[str]:
        """Keep the files of a multipart/form-data body; return their names.

        Args:
            stream: Readable; not read beyond `length` bytes.

        Raises:
            BadUpload: The body is malformed or ended early; nothing is kept of the
                file this happened in.
            BadName: A file has an unsafe name.
        """
        match = re.search(r'boundary="?([^";]+)"?', content_type or "")
        if "multipart/form-data" not in (content_type or "") or not match:
            raise BadUpload("multipart/form-data is wanted")
        body = _Multipart(stream, length, match[1].encode())
        names = []
        while (name := body.next_part()) is not None:
            if name:
                self._keep(name, body)
                names.append(name)
        return names

    def _keep(self, name: str, body: "_Multipart") -> None:
        target = self.path(name)
        partial = self.folder / PARTIAL / uuid.uuid4().hex
        try:
            with open(partial, "wb") as file:
                for piece in body.pieces():
                    file.write(piece)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, target)
        except (NotADirectoryError, FileExistsError, IsADirectoryError):
            raise BadName(f"{name!r} is in the way of another name") from None
        finally:
            partial.unlink(missing_ok=True)

    def delete(self, name: str) -> bool:
        """Delete a file, and the folders that are empty then; say whether it was.

        Of a file that went with its task lately it says yes too: the SDK deletes the
        task first, and reports files as left behind that it cannot delete afterwards.
        """
        path = self.path(name)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return name.strip("/") in self._went
        for folder in path.parents:
            if folder == self.folder:
                break
            try:
                folder.rmdir()
            except OSError:
                break
        return True

    def delete_urls(self, urls) -> None:
        """Delete those of these addresses that are files of this server."""
        if len(self._went) > MAX_WENT:
            self._went.clear()
        for url in set(urls):
            name = self.name_of(url)
            try:
                if name and self.delete(name):
                    self._went.add(name.strip("/"))
                    log.info("deleted %s", name)
            except (BadName, OSError) as error:
                log.warning("not deleted: %s", error)

    @staticmethod
    def name_of(url: str) -> str | None:
        """The name of a file of this server, from its address as it is stored."""
        start = f"{PLACEHOLDER}{PREFIX}/"
        if not url.startswith(start):
            return None
        return urllib.parse.unquote(url.removeprefix(start).partition("?")[0])


class _Multipart:
    """Reads the parts of a multipart body one after another, in pieces."""

    def __init__(self, stream, length: int, boundary: bytes):
        self._stream = stream
        self._left = length
        # the body starts as if a line had ended before it
        self._buffer = b"\r\n"
        self._mark = b"\r\n--" + boundary
        self._inside = True  # a part's content, or the preamble

    def next_part(self) -> str | None:
        """Go to the next part; return its field name, or None at the end."""
        for _ in self.pieces():  # preamble, or what was left of the part before
            pass
        while len(self._buffer) < 2:
            self._fill()
        if self._buffer.startswith(b"--"):
            return None
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > 1 << 16:
                raise BadUpload("the headers of a part are too long")
            self._fill()
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        self._buffer = rest
        self._inside = True
        headers = email.parser.Parser().parsestr(
            head.lstrip().decode("utf-8", "replace"), headersonly=True
        )
        name = headers.get_param("name", "", header="content-disposition")
        if isinstance(name, tuple):  # RFC 2231: charset, language, value
            name = urllib.parse.unquote(name[2])
        # Taken as it is: the SDK escapes names itself, and "%22" is then part of the
        # address under which it will ask for the file.
        return name

    def pieces(self):
        """Yield the content of the current part."""
        if not self._inside:
            return
        keep = len(self._mark) - 1
        while (at := self._buffer.find(self._mark)) < 0:
            if len(self._buffer) > keep:
                yield self._buffer[:-keep]
                self._buffer = self._buffer[-keep:]
            self._fill()
        if at:
            yield self._buffer[:at]
        self._buffer = self._buffer[at + len(self._mark) :]
        self._inside = False

    def _fill(self) -> None:
        piece = self._stream.read(min(PIECE, self._left))
        if not piece:
            raise BadUpload("the upload ended early")
        self._left -= len(piece)
        self._buffer += piece
