"""The embedded corpus: spoken commands by dozens of synthetic voices, made on the spot, the same on every run.

English commands in the manner of Fluent Speech Commands (an action, an object, a place), spoken by eSpeak NG through
the `espeakng-loader` wheel, with metadata that is true by construction. The wheel ships GPL-3 code without the text of
its licence, so it is installed only by the extra `hf-select[demo]`; nothing of it is part of hf_select or of the
corpus, and it runs in processes of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_select.demo.cast import INTENTS, SPLITS, Line, plan_lines, planted_name, planted_subgroups
from hf_select.errors import DatasetError, OutputError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features

__all__ = ["corpus_digest", "make_corpus", "planted_subgroups"]

REVISION = 1  # raise it when the same parameters give another corpus
_RECORD = "corpus.json"


def make_corpus(
    out: str | os.PathLike[str] | None = None,
    *,
    clips: int = 1200,
    seed: int = 0,
    weak_subgroups: bool = False,
    sampling_rate: int = 16_000,
    voices: int = 48,
    num_proc: int | None = None,
    overwrite: bool = False,
) -> DatasetDict:
    """Make the embedded corpus of spoken commands, or open the one that was saved in `out`.

    Splits `train` (70 % of the clips), `validation` and `test` (15 % each) share no speaker. Columns: `audio` (FLAC
    bytes inside the table), `text`, `label` (the intent, a ClassLabel), `action`, `object`, `location` ("none" where
    there is none), `speaker`, `gender` (female, male), `age` (young, adult, senior), `accent` (eight of English),
    `rate_wpm` (the speed asked of eSpeak NG, words per minute), `pitch_hz` (the middle of the voice's range, one value
    a speaker), `noise` (none, white, pink, babble), `snr_db` (mean power of the spoken part over that of the noise;
    null exactly where `noise` is none), `duration` (seconds). The same arguments give the same bytes in every process
    on one machine, whatever `num_proc` is; another version of espeakng-loader, numpy, soxr or libsndfile may not.

    Reads: nothing, or the corpus saved in `out`.
    Args:
        out: a folder to save to (`datasets.load_from_disk` opens it too). A corpus made there with the same arguments
            is opened instead of made again. None keeps everything in memory: about 40 kB a clip at 16 kHz.
        clips: rows in all splits together, at least 3.
        seed: 0 or more; another seed gives other voices, words and noises.
        weak_subgroups: plant the subgroups of `planted_subgroups()`: hard, rare in the first 60 % of the training rows
            (take them as the start), usual in the other 40 % (the pool) and in validation and test. Adds the column
            `planted`: the name of the row's subgroup, or null.
        sampling_rate: 8,000 to 48,000 Hz. The voice itself has nothing above 11 kHz.
        voices: speakers in all, 3 to 1,000; a quarter goes to validation, as many to test. Only those who get a clip
            appear.
        num_proc: speakers made at the same time; None takes one for each core.
        overwrite: replace another corpus in `out`. Anything that is not a corpus is never replaced.
    Returns: a DatasetDict with the three splits.
    Raises:
        MissingPackageError: espeakng-loader is not installed.
        OutputError: `out` holds something else, is damaged, or can't be written.
        DatasetError: an argument is out of its range.
        AudioError: eSpeak NG failed.
    Reference: the kind of commands follows Lugosch et al. 2019 (Fluent Speech Commands); words and voices are ours.
    Relations: `planted_subgroups` says what `weak_subgroups` plants; `corpus_digest` tells two corpora apart.

    >>> corpus = make_corpus(clips=12, voices=3)
    >>> {split: len(rows) for split, rows in corpus.items()}
    {'train': 8, 'validation': 2, 'test': 2}
    """
    wanted = {
        "clips": clips,
        "seed": seed,
        "weak_subgroups": weak_subgroups,
        "sampling_rate": sampling_rate,
        "voices": voices,
    }
    _check_arguments(wanted, num_proc)
    if out is None:
        return _synthesise(wanted, num_proc)
    target = Path(out)
    if target.exists() and _is_same(target, wanted, overwrite):
        return _open(target)
    return _save(target, wanted, num_proc)


def _check_arguments(wanted: dict[str, Any], num_proc: int | None) -> None:
    """Refuse numbers out of range, naming the range."""
    limits = {"clips": (3, 10**7), "seed": (0, 2**63), "sampling_rate": (8_000, 48_000), "voices": (3, 1_000)}
    asked = wanted if num_proc is None else {**wanted, "num_proc": num_proc}
    for name, (low, high) in {**limits, "num_proc": (1, 1_024)}.items():
        value = asked.get(name, low)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise DatasetError(f"make_corpus: {name} must be an integer from {low} to {high}, and is {value!r}.")
    if not isinstance(wanted["weak_subgroups"], bool):
        raise DatasetError(f"make_corpus: weak_subgroups must be True or False, and is {wanted['weak_subgroups']!r}.")


def _synthesise(wanted: dict[str, Any], num_proc: int | None) -> DatasetDict:
    """Plan the corpus, speak it speaker by speaker, and put the rows in order."""
    from datasets import DatasetDict

    plan = plan_lines(wanted["clips"], wanted["voices"], wanted["seed"], wanted["weak_subgroups"])
    sounds = _speak_all(plan, wanted["sampling_rate"], num_proc)
    return DatasetDict({split: _dataset(split, plan[split], sounds[split], wanted) for split in SPLITS})


def _speak_all(
    plan: dict[str, list[Line]], sampling_rate: int, num_proc: int | None
) -> dict[str, list[tuple[bytes, float]]]:
    """Return (FLAC bytes, seconds) for every line of the plan; every speaker is one fresh process."""
    from datasets.utils import tqdm

    from hf_select.demo.sound import require_espeak, speak_lines

    require_espeak()
    parts: dict[tuple[str, str], list[int]] = defaultdict(list)
    for split, lines in plan.items():
        for row, line in enumerate(lines):
            parts[split, line.speaker.name].append(row)
    sounds: dict[str, list[Any]] = {split: [None] * len(lines) for split, lines in plan.items()}
    pool = ThreadPoolExecutor(num_proc or _cores())
    try:
        jobs = {}
        for (split, _speaker), rows in parts.items():
            lines = [plan[split][row] for row in rows]
            jobs[pool.submit(speak_lines, lines[0].speaker, lines, sampling_rate)] = (split, rows)
        with tqdm(total=sum(map(len, plan.values())), desc="Speaking commands", unit="clip") as bar:
            for job in as_completed(jobs):
                split, rows = jobs[job]
                for row, sound in zip(rows, job.result(), strict=True):
                    sounds[split][row] = sound
                bar.update(len(rows))
    finally:
        pool.shutdown(cancel_futures=True)
    return sounds


def _cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _row(line: Line, seconds: float) -> dict[str, Any]:
    """Return every column of a row but its audio."""
    intent, speaker = INTENTS[line.label], line.speaker
    return {
        "text": line.text, "label": line.label, "action": intent.action, "object": intent.object,
        "location": intent.location, "speaker": speaker.name, "gender": speaker.gender, "age": speaker.age,
        "accent": speaker.accent, "rate_wpm": line.rate_wpm, "pitch_hz": speaker.pitch_hz, "noise": line.noise,
        "snr_db": line.snr_db, "duration": seconds,
    }  # fmt: skip


def _features(sampling_rate: int, weak: bool) -> Features:
    """Return the columns and their types."""
    from datasets import Audio, ClassLabel, Features, Value

    texts = dict.fromkeys(("action", "object", "location", "speaker", "gender", "age", "accent"), Value("string"))
    columns = {
        "audio": Audio(sampling_rate=sampling_rate), "text": Value("string"),
        "label": ClassLabel(names=[intent.label for intent in INTENTS]), **texts,
        "rate_wpm": Value("int32"), "pitch_hz": Value("float64"), "noise": Value("string"),
        "snr_db": Value("float64"), "duration": Value("float64"),
    }  # fmt: skip
    return Features({**columns, "planted": Value("string")} if weak else columns)


def _dataset(split: str, lines: list[Line], sounds: list[tuple[bytes, float]], wanted: dict[str, Any]) -> Dataset:
    """Build one split straight from Arrow: `Dataset.from_dict` would ask for torchcodec."""
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo
    from datasets.splits import NamedSplit

    features = _features(wanted["sampling_rate"], wanted["weak_subgroups"])
    rows = [_row(line, seconds) for line, (_, seconds) in zip(lines, sounds, strict=True)]
    if wanted["weak_subgroups"]:
        rows = [{**row, "planted": planted_name(row)} for row in rows]
    names = [f"{split}_{number:06d}_{line.speaker.name}.flac" for number, line in enumerate(lines)]
    audio = [{"bytes": sound, "path": name} for (sound, _), name in zip(sounds, names, strict=True)]
    columns: dict[str, list[Any]] = {"audio": audio, **{name: [row[name] for row in rows] for name in rows[0]}}
    table = pa.table(columns, schema=features.arrow_schema)
    info = DatasetInfo(description="Spoken commands synthesised by eSpeak NG.", features=features)
    key = json.dumps([REVISION, split, wanted, _loader_version()]).encode()
    return Dataset(table, info=info, split=NamedSplit(split), fingerprint=hashlib.sha256(key).hexdigest()[:16])


def corpus_digest(corpus: DatasetDict) -> str:
    """Return a SHA-256 (64 hex digits) over every value and every audio byte of a corpus, in row order.

    Reads: all columns of all splits; audio as bytes, never decoded.
    Returns: the digest. It does not depend on how the rows are chunked or stored.
    Relations: `make_corpus` writes it beside a saved corpus and checks it when opening that again.
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        for batch in corpus[split].with_format("arrow").iter(batch_size=256):
            for row in batch.to_pylist():
                audio = row.pop("audio")
                digest.update(json.dumps([split, audio["path"], row], sort_keys=True).encode())
                digest.update(audio["bytes"])
    return digest.hexdigest()


def _loader_version() -> str | None:
    """Return the installed version of espeakng-loader; None where it is absent."""
    try:
        return version("espeakng-loader")
    except PackageNotFoundError:
        return None


def _is_same(target: Path, wanted: dict[str, Any], overwrite: bool) -> bool:
    """Tell whether `target` holds the wanted corpus; refuse whatever must not be replaced."""
    if target.is_dir() and not any(target.iterdir()):
        return False
    try:
        record = json.loads((target / _RECORD).read_text(encoding="utf-8"))
        there = {**record["parameters"], "revision": record["revision"], "espeakng-loader": record["espeakng-loader"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{target} exists and is not an embedded corpus: choose another folder for `out`.") from error
    # A saved corpus can be used where eSpeak NG is not installed.
    now = {**wanted, "revision": REVISION, "espeakng-loader": _loader_version() or there["espeakng-loader"]}
    differences = [
        f"{name} is {there.get(name)!r} there and {now[name]!r} here" for name in now if there.get(name) != now[name]
    ]
    if not differences:
        return not overwrite
    if overwrite:
        return False
    seen = "; ".join(differences)
    raise OutputError(f"{target} holds another corpus ({seen}): pass overwrite=True to replace it, or another folder.")


def _open(target: Path) -> DatasetDict:
    """Open a saved corpus and check every byte of it."""
    from datasets import DatasetDict

    record = json.loads((target / _RECORD).read_text(encoding="utf-8"))
    try:
        corpus = DatasetDict.load_from_disk(str(target))
        seen = corpus_digest(corpus)
    except Exception as error:  # a damaged Arrow file fails in many ways
        raise OutputError(
            f"The corpus in {target} can't be read ({error}): pass overwrite=True to make it again."
        ) from error
    if seen != record["digest"]:
        raise OutputError(
            f"The corpus in {target} has changed since it was made: pass overwrite=True to make it again."
        )
    return corpus


def _save(target: Path, wanted: dict[str, Any], num_proc: int | None) -> DatasetDict:
    """Make the corpus in a folder beside `target`, which takes its name only when all of it is there."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
            corpus = _synthesise(wanted, num_proc)
            fresh, old = Path(folder, "new"), Path(folder, "old")
            corpus.save_to_disk(str(fresh))
            record = {
                "parameters": wanted,
                "revision": REVISION,
                "espeakng-loader": _loader_version(),
                "digest": corpus_digest(corpus),
            }
            (fresh / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            if target.exists():
                target.rename(old)
            fresh.rename(target)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"The corpus can't be written to {target}: {error}. Choose another folder.") from error
    return _open(target)
