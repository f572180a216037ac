"""Where finished scores lie, and how the processes of a run put them together, with a shared file system or without."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pyarrow as pa

from hf_select.errors import OutputError
from hf_select.parts import PartStore, file_digest
from hf_select.scoring.ranks import Ranks

__all__ = ["ScoreFolder"]

_MARK = b"hf_select.fingerprint"


class ScoreFolder:
    """The finished chunks of a run and the one file that they become.

    Args:
        folder: of this process; it may be the same for all, or one for each machine.
        fingerprint: names data, model and parameters.
        num_rows: of the whole run.
        named: the result is `scores.arrow`, for people; else it is named by the fingerprint, as in a cache.
        ranks: the processes.
        overwrite: replace a result of another fingerprint.
    """

    def __init__(
        self, folder: Path, fingerprint: str, num_rows: int, ranks: Ranks, *, named: bool, overwrite: bool = False
    ) -> None:
        self.fingerprint, self.ranks, self.leader = fingerprint, ranks, 0
        self.store = PartStore(folder / fingerprint, num_rows, folder / "scores.arrow" if named else None)
        if named and not overwrite and self.store.final.exists() and self._of_others():
            raise OutputError(
                f"{self.store.final} holds scores of other data, another model or other parameters: choose another out=, "
                "or pass overwrite=True to replace them."
            )

    def done(self) -> bool:
        """Say whether every process finds the whole result, byte for byte as it was written."""
        self.store.open("out=", joined=False)
        self.leader = self._leaders()[self.ranks.rank]
        here = self.store.done() and self._fingerprint() == self.fingerprint
        return all(self.ranks.gather(here))

    def open(self) -> list[tuple[int, int]]:
        """Return the chunks that are finished, on whichever machine they lie."""
        return sorted({(start, stop) for chunks in self._chunks() for start, stop in chunks})

    def assemble(self, schema: pa.Schema, rows: Any, length: int) -> None:
        """Put the chunks together, once on every file system, and remove them when all is whole."""
        self.ranks.wait("all chunks are finished")
        self._exchange()
        if self.leader == self.ranks.rank:
            marks = {**(schema.metadata or {}), _MARK: self.fingerprint.encode()}
            self.store.assemble(schema.with_metadata(marks), rows, length)
        self.ranks.wait("the result is whole")
        self.clear()

    def clear(self) -> None:
        """Remove chunks, once every process has the whole result."""
        self.store.clear()

    def _of_others(self) -> bool:
        """Say whether the file there is something else: not our result, and not a damaged one, which may be ours."""
        note = self.store.final.with_suffix(".sha256")
        if self._fingerprint() == self.fingerprint:
            return False
        return not note.exists() or note.read_bytes() == file_digest(self.store.final).encode()

    def _fingerprint(self) -> str | None:
        try:
            with pa.memory_map(str(self.store.final)) as file:
                return (pa.ipc.open_stream(file).schema.metadata or {}).get(_MARK, b"").decode()
        except (pa.ArrowException, OSError, ValueError):  # damaged
            return None

    def _leaders(self) -> list[int]:
        """Return, for each rank, the lowest one that writes to the same folder: found out by leaving a mark there."""
        token = secrets.token_hex(8)
        mark = self.store.folder / f"{token}.mark"
        mark.touch()
        try:
            tokens = self.ranks.gather(token)
            leader = next(r for r, other in enumerate(tokens) if (self.store.folder / f"{other}.mark").exists())
            return self.ranks.gather(leader)
        finally:
            mark.unlink(missing_ok=True)

    def _chunks(self) -> list[list[list[int]]]:
        """Return the finished chunks that lie in the folder of each rank that leads one."""
        here = self.store.open("out=", joined=False) if self.leader == self.ranks.rank else []
        return self.ranks.gather([list(bounds) for bounds in here])

    def _exchange(self) -> None:
        """Send chunks to the file systems that lack them; nothing to do where all processes share one."""
        leaders = sorted(set(self.ranks.gather(self.leader)))
        if len(leaders) == 1:
            return
        there = {r: {tuple(bounds) for bounds in chunks} for r, chunks in enumerate(self._chunks())}
        for bounds in sorted(set().union(*there.values())):
            having = [r for r in leaders if bounds in there[r]]
            if len(having) < len(leaders):
                data = self.store.part(bounds[0]).read_bytes() if self.ranks.rank == having[0] else None
                data = self.ranks.broadcast(data, having[0])
                if self.leader == self.ranks.rank and self.leader not in having:
                    self.store.write(bounds[0], pa.ipc.open_stream(data).read_all())
