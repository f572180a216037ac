"""Streams from which libsndfile can read a broken file."""

from __future__ import annotations

import io

__all__ = ["Bytes", "File"]


class _Steady:
    """A stream that stays where it is when a broken header sends libsndfile to before its start.

    An exception could not leave the callback in which libsndfile seeks: it would be printed, and the seek taken for one to 0.
    """

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go there, or stay."""
        try:
            return super().seek(offset, whence)  # type: ignore[misc,no-any-return]
        except (ValueError, OSError):
            return self.tell()  # type: ignore[attr-defined,no-any-return]


class Bytes(_Steady, io.BytesIO):
    """Encoded sound in memory."""


class File(_Steady, io.BufferedReader):
    """Encoded sound in a file."""
