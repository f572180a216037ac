"""Keep mpg123 from flooding stderr: inside libsndfile it prints a line on file descriptor 2 for every broken MP3 frame."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from typing import IO, Any

__all__ = ["quiet_mpg123"]

# of its notes and warnings those that name a thing of MPEG; other code writes notes and warnings too
OURS = re.compile(
    rb"(?:^\n)?(?:\[src/libmpg123/|(?:Note|Warning): [^\n]*"
    rb"(?:Frankenstein|Xing|MPEG|resync|bit reservoir|bytes in input|Junk at|free format|BMP|RIFF|ID3))[^\n]*(?:\n|\Z)",
    re.MULTILINE,
)


class _Quiet:
    """While inside, descriptor 2 leads to a file; on the way out, what mpg123 did not write is handed on to the real one.

    No setting of libsndfile makes mpg123 silent, and a thread has no stderr of its own: so the whole process is held back, for
    the time of one decode. Several threads may be inside at once, and each that leaves hands on what other code (progress
    bars, logs) has written meanwhile, in its order but for what is written in that very instant. Costs a few system calls,
    and only around an MP3.
    """

    def __init__(self) -> None:
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _reset(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.real = -1  # the real stderr while somebody is inside
        self.seen = 0  # bytes of the file that were handed on
        self.file: IO[bytes] | None = None

    def _after_fork(self) -> None:
        """A child that was forked while a thread of the parent was inside gets its stderr back, and a file of its own."""
        if self.real >= 0:
            os.dup2(self.real, 2)
            os.close(self.real)
        self._reset()

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside > 1 or not hasattr(os, "pread"):  # Windows, where stderr stays noisy
                return
            try:
                if self.file is None:
                    self.file = tempfile.TemporaryFile(buffering=0)
                self.real = os.dup(2)
                os.dup2(self.file.fileno(), 2)
            except OSError:  # no stderr to keep clean, or no room for a file
                self.real = -1

    def __exit__(self, *_: Any) -> None:
        with self.lock:
            self.inside -= 1
            if self.real < 0 or self.file is None:
                return
            self._hand_on(self.file)
            if not self.inside:
                os.dup2(self.real, 2)
                while self._hand_on(self.file):  # what was written since, so that it stays before what comes now
                    pass
                os.close(self.real)
                self.real = -1
                self.file.seek(0)
                self.file.truncate()
                self.seen = 0

    def _hand_on(self, file: IO[bytes]) -> bool:
        """Hand on what others have written since the last time, if there is anything new."""
        size = os.fstat(file.fileno()).st_size
        if size == self.seen:
            return False
        others = OURS.sub(b"", os.pread(file.fileno(), size - self.seen, self.seen))
        self.seen = size
        if others:
            os.write(self.real, others)
        return True


quiet_mpg123 = _Quiet()
