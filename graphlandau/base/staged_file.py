"""A file for libraries that do not survive a write that fails."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

__all__ = ["StagedFile"]


class StagedFile(io.RawIOBase):
    """A binary file whose changes wait in memory until :meth:`commit` writes them.

    HDF5 ends the process where the disk is full; into this file its writes always succeed, and it is Python that
    meets the full disk and raises an ``OSError``. What was changed is kept by pages: the memory is that of what is
    written, not that of the file.

    Args:
        file: Open for reading and writing in binary; it changes in :meth:`commit` only.

    Example:
        >>> file = io.BytesIO(b"0123456789")
        >>> staged = StagedFile(file)
        >>> _ = staged.seek(8)
        >>> staged.write(b"abcd")
        4
        >>> file.getvalue()
        b'0123456789'
        >>> staged.commit()
        >>> file.getvalue()
        b'01234567abcd'
    """

    PAGE = 1 << 16

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._kept = self._size = file.seek(0, io.SEEK_END)
        self._at = 0
        self._pages: dict[int, bytearray] = {}

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to ``offset`` from the start, from here or from the end."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read into ``buffer`` up to the end; returns how much."""
        target = memoryview(buffer).cast("B")
        count = max(0, min(len(target), self._size - self._at))
        done = 0
        for number, start, stop in self._pieces(count):
            target[done : done + stop - start] = self._page(number)[start:stop]
            done += stop - start
        return count

    def write(self, data: Any) -> int:
        """Keep ``data`` for :meth:`commit`; returns its length."""
        source = memoryview(data).cast("B")
        done = 0
        for number, start, stop in self._pieces(len(source)):
            whole = stop - start == self.PAGE
            page = self._pages.setdefault(number, bytearray(self.PAGE) if whole else bytearray(self._page(number)))
            page[start:stop] = source[done : done + stop - start]
            done += stop - start
        if done:
            self._size = max(self._size, self._at)
        return done

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file to ``size`` bytes, or to the position."""
        size = self._at if size is None else size
        if size < self._size:
            last, start = divmod(size, self.PAGE)
            self._pages = {number: page for number, page in self._pages.items() if number <= last}
            if last in self._pages:
                self._pages[last][start:] = bytes(self.PAGE - start)
        self._kept, self._size = min(self._kept, size), size
        return size

    def commit(self) -> None:
        """Write what was changed.

        Raises:
            OSError: If it cannot be written.
        """
        self._file.truncate(self._kept)
        for number, page in sorted(self._pages.items()):
            self._file.seek(number * self.PAGE)
            self._file.write(page[: self._size - number * self.PAGE])
        self._file.truncate(self._size)
        self._file.flush()

    def _page(self, number: int) -> bytearray | bytes:
        """What a page holds now."""
        if number in self._pages:
            return self._pages[number]
        self._file.seek(number * self.PAGE)
        held = self._file.read(max(0, min(self.PAGE, self._kept - number * self.PAGE)))
        return held.ljust(self.PAGE, b"\0")

    def _pieces(self, count: int) -> Iterator[tuple[int, int, int]]:
        """Move the position by ``count`` bytes; yield each page on the way, with the part of it that is passed."""
        end = self._at + count
        while self._at < end:
            number, start = divmod(self._at, self.PAGE)
            stop = min(self.PAGE, start + end - self._at)
            yield number, start, stop
            self._at += stop - start
