"""What a check found: a frozen record that prints itself calmly, whatever stands in the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CheckReport", "SameSound", "Share"]

FEW = 5  # row numbers, sounds, or labels that a sentence lists
MANY = 15  # lines of the table of labels


@dataclass(frozen=True)
class Share:
    """What one label, or one speaker, has: rows, hours of decoded sound that can be used, and different speakers."""

    rows: int
    hours: float
    speakers: int | None = None


@dataclass(frozen=True)
class SameSound:
    """Rows that hold identical sound, and the different labels and speakers that stand beside it."""

    rows: tuple[int, ...]
    labels: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """The outcome of `check`. Row numbers are those of the dataset that was checked, from 0 on.

    Attributes:
        rows: rows of the dataset. usable: clips of them that can be used. hours: decoded hours of these.
        lengths: shortest, median and longest of them in seconds; None if there is none.
        columns: which column was taken as "audio", "label", "speaker" and "duration"; None for one that was not there.
        status: reason why clips can't be used -> their rows; the most frequent first. See `hf_select.audio.STATUS`.
        details: the same reason -> what was seen in the first of these rows.
        labels: label -> Share, the largest first, a ClassLabel's empty classes included. speakers: the same per speaker.
        balance: how even the labels are, 0 to 1 (`hf_select.balance`); None without labels.
        unlabelled: rows without a label.
        clipped: rows of clipped clips, the worst first. quiet: rows of clips below `limits["min_dbfs"]`, the quietest first.
        rates, channels: sampling rate in Hz, number of channels -> clips.
        label_faults: identical sound under different labels. redundant: identical sound under one label, or none.
        across_speakers: identical sound under different speakers; it also stands in one of the two before.
        wrong_duration: rows whose duration differs from the decoded one, the worst first.
        claimed_hours: what the durations sum to, where there are both, and the decoded hours of these rows; None without.
        small: label -> rows, of the labels with fewer than `limits["min_rows"]` rows.
        limits: the limits that were used. notes: what was not checked, and why.
    """

    rows: int
    usable: int
    hours: float
    lengths: tuple[float, float, float] | None
    columns: dict[str, str | None]
    status: dict[str, tuple[int, ...]]
    details: dict[str, str]
    labels: dict[str, Share]
    speakers: dict[str, Share]
    balance: float | None
    unlabelled: tuple[int, ...]
    clipped: tuple[int, ...]
    quiet: tuple[int, ...]
    rates: dict[int, int]
    channels: dict[int, int]
    label_faults: tuple[SameSound, ...]
    redundant: tuple[SameSound, ...]
    across_speakers: tuple[SameSound, ...]
    wrong_duration: tuple[int, ...]
    claimed_hours: tuple[float, float] | None
    small: dict[str, int]
    limits: dict[str, float | None]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Say whether nothing was found."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """What was found, as sentences: first what can't be used, then what is wrong, wasteful, and worth knowing."""
        return [
            *([] if self.rows else ["The dataset has no rows."]),
            *self._unusable(),
            *self._wrong(),
            *self._uneven(),
        ]

    def _unusable(self) -> list[str]:
        return [
            f"{_count(len(rows), 'clip')} of {self.rows:,} {_be(rows)} {code.replace('_', ' ')}: "
            f"{_rows(rows)} (row {rows[0]}: {shown(self.details[code], 160) or 'no detail'})."
            for code, rows in self.status.items()
        ]

    def _wrong(self) -> list[str]:
        found = []
        if self.label_faults:
            found.append(
                f"{_sounds(self.label_faults)} under different labels: {_places(self.label_faults, 'labels')}."
            )
        if self.unlabelled:
            verb = "has" if len(self.unlabelled) == 1 else "have"
            found.append(f"{_count(len(self.unlabelled), 'row')} {verb} no label: {_rows(self.unlabelled)}.")
        if self.wrong_duration and self.claimed_hours:
            claimed, decoded = self.claimed_hours
            found.append(
                f"{_count(len(self.wrong_duration), 'duration')} in column {shown(str(self.columns['duration']))} "
                f"{_be(self.wrong_duration)} wrong, the worst first: {_rows(self.wrong_duration)}. "
                f"The column sums to {claimed:.4g} h where {decoded:.4g} h were decoded."
            )
        if self.across_speakers:
            found.append(
                f"{_sounds(self.across_speakers)} under different speakers: {_places(self.across_speakers, 'speakers')}."
            )
        return found

    def _uneven(self) -> list[str]:
        found = []
        if self.redundant:
            surplus = sum(len(same.rows) - 1 for same in self.redundant)
            under = " under one label" if self.labels else ""
            found.append(
                f"{_sounds(self.redundant)} more than once{under}, {_count(surplus, 'row')} too many: "
                f"{_places(self.redundant)}."
            )
        if self.clipped:
            found.append(
                f"{_count(len(self.clipped), 'clip')} {_be(self.clipped)} clipped (more than "
                f"{self.limits['max_clipped']:.4g} of the samples at full scale), the worst first: {_rows(self.clipped)}."
            )
        if self.quiet:
            found.append(
                f"{_count(len(self.quiet), 'clip')} {_be(self.quiet)} almost silent (below {self.limits['min_dbfs']:g} dBFS), "
                f"the quietest first: {_rows(self.quiet)}."
            )
        if len(self.rates) > 1:
            found.append(f"The clips have {len(self.rates)} sampling rates: {_tally(self.rates, ' Hz')}.")
        if len(self.channels) > 1:
            found.append(f"The clips differ in channels: {_tally(self.channels, '-channel')}.")
        if self.small:
            fewest = sorted(self.small.items(), key=lambda item: (item[1], item[0]))
            listed = _listed([f"{shown(name)} ({rows})" for name, rows in fewest])
            verb = "has" if len(self.small) == 1 else "have"
            found.append(
                f"{_count(len(self.small), 'label')} {verb} fewer than {self.limits['min_rows']:g} rows: {listed}."
            )
        return found

    def __str__(self) -> str:
        lines = [f"{_count(self.rows, 'row')}, {_count(self.usable, 'clip')} that can be used, {self.hours:.4g} h"]
        if self.lengths:
            low, middle, high = self.lengths
            lines[0] += f" ({low:.2f} to {high:.2f} s, median {middle:.2f} s)"
        taken = [what if name == what else f"{what} = {shown(name)}" for what, name in self.columns.items() if name]
        lines.append(f"columns: {', '.join(taken)}")
        if self.rates:
            lines.append(f"sound: {_tally(self.rates, ' Hz')}; {_tally(self.channels, '-channel')}")
        lines += [
            *self._label_lines(),
            *self._speaker_lines(),
            *(f"note: {shown(note, 300)}" for note in self.notes),
            "",
        ]
        found = self.problems
        if not found:
            return "\n".join([*lines, "No problem found."])
        lines.append(f"{_count(len(found), 'problem')}, the worst first:" if len(found) > 1 else "1 problem:")
        return "\n".join(lines + [f"{number:3d}. {problem}" for number, problem in enumerate(found, 1)])

    def _label_lines(self) -> list[str]:
        if not self.labels:
            return []
        rows = [
            (
                shown(name, 32),
                f"{share.rows:,}",
                f"{share.hours:.4f}",
                "" if share.speakers is None else str(share.speakers),
            )
            for name, share in list(self.labels.items())[:MANY]
        ]
        head = ("label", "rows", "hours", "speakers" if self.speakers else "")
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(4)]
        table = [
            f"  {row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}".rstrip()
            for row in (head, *rows)
        ]
        more = len(self.labels) - len(rows)
        if more:
            table.append(f"  and {_count(more, 'more label', 'more labels')} with fewer rows")
        return ["", *table, f"  balance {self.balance:.3f} (1: all {len(self.labels)} labels equally frequent)"]

    def _speaker_lines(self) -> list[str]:
        if not self.speakers:
            return []
        name, most = next(iter(self.speakers.items()))
        fewest = min(share.rows for share in self.speakers.values())
        if fewest == most.rows:
            return [f"{_count(len(self.speakers), 'speaker')}, {_count(fewest, 'row')} each"]
        return [
            f"{_count(len(self.speakers), 'speaker')}, {fewest:,} to {most.rows:,} rows each; "
            f"most: {shown(name, 32)} with {most.rows / self.rows:.1%} of the rows"
        ]

    def to_dict(self, first: int | None = 20) -> dict[str, Any]:
        """Return everything as plain values for JSON; labels stand there as they are, so write them escaped (the default of `json`).

        Args:
            first: how many row numbers, sounds and speakers to list of each finding, 0 or more; None lists all. Counts are of all.
        """

        def rows(found: Sequence[int]) -> dict[str, Any]:
            return {"count": len(found), "rows": list(found[:first])}

        def sounds(found: Sequence[SameSound]) -> dict[str, Any]:
            listed = [
                {**asdict(same), "count": len(same.rows), "rows": list(same.rows[:first])} for same in found[:first]
            ]
            return {"count": len(found), "rows_too_many": sum(len(s.rows) - 1 for s in found), "sounds": listed}

        return {
            "ok": self.ok,
            "problems": self.problems,
            **{name: getattr(self, name) for name in ("rows", "usable", "hours", "lengths", "columns", "balance")},
            "status": {code: {**rows(found), "detail": self.details[code]} for code, found in self.status.items()},
            "labels": {name: asdict(share) for name, share in self.labels.items()},
            "speakers": {
                "count": len(self.speakers),
                "largest": {name: asdict(share) for name, share in list(self.speakers.items())[:first]},
            },
            **{name: rows(getattr(self, name)) for name in ("unlabelled", "clipped", "quiet", "wrong_duration")},
            **{name: {str(k): n for k, n in getattr(self, name).items()} for name in ("rates", "channels")},
            **{name: sounds(getattr(self, name)) for name in ("label_faults", "redundant", "across_speakers")},
            **{name: getattr(self, name) for name in ("claimed_hours", "small")},
            "limits": {name: None if limit == float("inf") else limit for name, limit in self.limits.items()},
            "notes": list(self.notes),
        }


def shown(text: str, width: int = 60) -> str:
    r"""Return text from a dataset as a terminal may show it: what is invisible, or moves the cursor or the reading direction, is escaped.

    >>> print(shown("yes"), shown("yes "), shown("\x1b[31mred"), shown("a\u202eb"))
    yes 'yes ' '\x1b[31mred' 'a\u202eb'
    """
    plain = text if text and text.isprintable() and text == text.strip() else repr(text)
    return plain if len(plain) <= width else plain[: width - 3] + "..."


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _be(found: Sequence[Any]) -> str:
    return "is" if len(found) == 1 else "are"


def _listed(names: Sequence[str], few: int = FEW, separator: str = ", ") -> str:
    if len(names) > few:
        return separator.join(names[:few]) + f" and {len(names) - few:,} more"
    return separator.join(names) if separator != ", " or len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"


def _rows(rows: Sequence[int]) -> str:
    return f"row{'' if len(rows) == 1 else 's'} {_listed([str(row) for row in rows])}"


def _sounds(found: Sequence[SameSound]) -> str:
    return "1 sound stands" if len(found) == 1 else f"{len(found):,} sounds stand"


def _places(found: Iterable[SameSound], names: str | None = None) -> str:
    each = []
    for same in found:
        values = (
            "" if names is None else f" ({_listed([shown(name) for name in getattr(same, names)], separator=' | ')})"
        )
        each.append(_rows(same.rows) + values)
    return _listed(each, separator="; ")


def _tally(counts: Mapping[int, int], unit: str) -> str:
    return _listed([f"{value}{unit} ({clips:,})" for value, clips in counts.items()])
