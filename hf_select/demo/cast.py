"""Who says what, and under which conditions: the plan of the embedded corpus, drawn before any sound is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["HEAD_SHARE", "INTENTS", "SPLITS", "Line", "Speaker", "plan_lines", "planted_name", "planted_subgroups"]

SPLITS = ("train", "validation", "test")
HEAD_SHARE = 0.6  # of the training rows: where planted subgroups are rare
ACCENTS = {  # our name -> the language file of eSpeak NG
    "british": "en",
    "received_pronunciation": "en-GB-x-rp",
    "scottish": "en-GB-scotland",
    "lancastrian": "en-GB-x-gbclan",
    "west_midlands": "en-GB-x-gbcwmd",
    "american": "en-US",
    "new_york": "en-US-nyc",
    "caribbean": "en-029",
}
PEOPLE = [(gender, age) for age in ("young", "adult", "senior") for gender in ("female", "male")]
NOISES = ("white", "pink", "babble")

# (action, object, places, wordings); "{in_place}" becomes "in the kitchen" and so on.
_COMMANDS: list[tuple[str, str, tuple[str, ...], tuple[str, ...]]] = [
    ("activate", "lights", ("kitchen", "bedroom", "bathroom"),
     ("turn on the lights {in_place}", "switch the lights on {in_place}", "lights on {in_place}")),
    ("deactivate", "lights", ("kitchen", "bedroom", "bathroom"),
     ("turn off the lights {in_place}", "switch the lights off {in_place}", "lights off {in_place}")),
    ("increase", "heat", ("kitchen", "bedroom"),
     ("increase the heat {in_place}", "turn up the heat {in_place}", "it is too cold {in_place}")),
    ("decrease", "heat", ("kitchen", "bedroom"),
     ("decrease the heat {in_place}", "turn down the heat {in_place}", "it is too hot {in_place}")),
    ("increase", "volume", ("none",),
     ("increase the volume", "turn up the volume", "louder please")),
    ("decrease", "volume", ("none",),
     ("decrease the volume", "turn down the volume", "not so loud please")),
    ("activate", "music", ("none",), ("play some music", "start the music", "put a song on")),
    ("deactivate", "music", ("none",), ("stop the music", "pause the song", "no more music")),
    *[
        ("bring", thing, ("none",),
         (f"bring me {some} {thing}", f"fetch {some} {thing}", f"get me {some} {thing} please"))
        for thing, some in (("newspaper", "the"), ("juice", "some"), ("socks", "my"), ("shoes", "my"))
    ],
    *[
        ("change_language", language, ("none",),
         (f"change the language to {language}", f"switch to {language}", f"{language} please"))
        for language in ("English", "German", "Chinese", "Korean")
    ],
]  # fmt: skip


@dataclass(frozen=True)
class Intent:
    """What is wanted: an action on an object in a place, and the ways to say it."""

    action: str
    object: str
    location: str
    wordings: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name of the class, such as "activate_lights_kitchen"."""
        parts = [self.action, self.object.lower(), self.location]
        return "_".join(part for part in parts if part != "none")


def _intents() -> Iterator[Intent]:
    for action, thing, places, wordings in _COMMANDS:
        for place in places:
            in_place = f"in the {place}"
            yield Intent(action, thing, place, tuple(wording.format(in_place=in_place) for wording in wordings))


INTENTS: tuple[Intent, ...] = tuple(sorted(_intents(), key=lambda intent: intent.label))


@dataclass(frozen=True)
class Speaker:
    """One synthetic person; `voice` holds the lines that are added to the accent's own voice file."""

    name: str
    split: str
    gender: str
    age: str
    accent: str
    pitch_hz: float
    rate_wpm: float
    voice: str

    @property
    def accent_file(self) -> str:
        """The language file of eSpeak NG that this speaker builds on."""
        return ACCENTS[self.accent]


@dataclass(frozen=True)
class Line:
    """One clip to be made: speaker, words, speed, noise, and the seed of everything random in its sound."""

    speaker: Speaker
    label: int
    text: str
    rate_wpm: int
    snr_db: float | None
    noise: str
    seed: tuple[int, ...]


def planted_subgroups() -> list[dict[str, Any]]:
    """Describe the subgroups that `make_corpus(weak_subgroups=True)` makes weak on purpose.

    Reads: nothing.
    Returns: a list of dicts with `name` (the value in the column `planted`), `pattern` (column -> the value, or
        [low, high] with both ends included and None for an open end) and `why` (what makes the rows hard).
        No row belongs to two of them.
    Relations: `make_corpus` plants them; `find_subgroups` should find them again.

    >>> [group["name"] for group in planted_subgroups()]
    ['fast_scottish_women', 'seniors_in_noise']
    """
    rare = (
        f"nearly absent from the first {HEAD_SHARE:.0%} of the training rows, usual in the rest and in the other splits"
    )
    return [
        {
            "name": "fast_scottish_women",
            "pattern": {"gender": "female", "accent": "scottish", "rate_wpm": [220, None]},
            "why": f"250 to 320 words per minute, where others stay below 260; {rare}",
        },
        {
            "name": "seniors_in_noise",
            "pattern": {"age": "senior", "snr_db": [None, 5.0]},
            "why": f"a signal-to-noise ratio of -5 to 5 dB, where others have 0 to 30 dB; {rare}",
        },
    ]


def planted_name(row: dict[str, Any]) -> str | None:
    """Return the name of the planted subgroup that a row (its metadata columns) belongs to, or None."""
    for group in planted_subgroups():
        if all(_fits(row[column], wanted) for column, wanted in group["pattern"].items()):
            return str(group["name"])
    return None


def _fits(value: Any, wanted: Any) -> bool:
    """Tell whether a value is the wanted one, or lies in the wanted [low, high]."""
    if not isinstance(wanted, list):
        return bool(value == wanted)
    low, high = wanted
    return value is not None and (low is None or value >= low) and (high is None or value <= high)


def plan_lines(clips: int, voices: int, seed: int, weak: bool) -> dict[str, list[Line]]:
    """Return the lines of each split, in row order.

    A quarter of the voices (at least one) and 15 % of the clips (at least one) go to validation, as many to test. In a
    split every speaker and every intent gets the same number of clips, give or take one.
    """
    held_voices, held_clips = max(1, voices // 4), max(1, round(0.15 * clips))
    sizes = {"train": (voices - 2 * held_voices, clips - 2 * held_clips)}
    sizes.update(dict.fromkeys(SPLITS[1:], (held_voices, held_clips)))
    plan, first = {}, 0
    for number, (split, (n_voices, n_clips)) in enumerate(sizes.items()):
        rng = np.random.default_rng([seed, number])
        people = _people(split, first, n_voices, rng, weak)
        plan[split] = _split_lines(people, n_clips, (seed, number), rng, weak)
        first += n_voices
    return plan


def _deal(kinds: int, count: int, rng: np.random.Generator) -> list[int]:
    """Return `count` numbers below `kinds`, each as often as any other, give or take one, in random order."""
    rounds = -(-count // kinds)
    return [int(kind) for _ in range(rounds) for kind in rng.permutation(kinds)][:count]


def _people(split: str, first: int, count: int, rng: np.random.Generator, weak: bool) -> list[Speaker]:
    """Draw the speakers of a split: accents, and pairs of gender and age, are dealt evenly."""
    kinds = zip(_deal(len(ACCENTS), count, rng), _deal(len(PEOPLE), count, rng), strict=True)
    cast = [(*PEOPLE[person], list(ACCENTS)[accent]) for accent, person in kinds]
    if weak:  # enough different voices in the planted subgroup
        for run in range(0, count, 6):
            wanted = ("female", ("young", "adult")[run // 6 % 2])
            fitting = [i for i in range(run, min(run + 6, count)) if cast[i][:2] == wanted]
            cast[fitting[0] if fitting else run] = (*wanted, "scottish")
    return [_speaker(f"s{first + i:03d}", split, *traits, rng) for i, traits in enumerate(cast)]


def _speaker(name: str, split: str, gender: str, age: str, accent: str, rng: np.random.Generator) -> Speaker:
    """Draw the voice of a speaker: pitch and its range, the formants, the speed."""
    older = {"young": 0, "adult": 1, "senior": 2}[age]
    base = rng.uniform(145, 165) if gender == "female" else rng.uniform(78, 92)
    base *= (1.15, 1.0, 0.95 if gender == "female" else 1.06)[older]
    # A shorter vocal tract has higher formants.
    tract = (1.12 if gender == "female" else 0.98) * (1.04, 1.0, 0.97)[older]
    top = base * rng.uniform(1.35, 1.6)
    lines = ["flutter 0", "roughness 0", "breath 0", f"pitch {base:.0f} {top:.0f}", f"voicing {rng.integers(85, 116)}"]
    for formant in range(9):
        frequency = 100 * tract * rng.uniform(0.97, 1.03)
        height = rng.uniform(85, 110) * (1.0 if older < 2 or formant < 4 else 0.5)  # age takes the brilliance
        lines.append(f"formant {formant} {frequency:.0f} {height:.0f} {rng.uniform(90, 130):.0f}")
    lines.append(f"consonants {rng.integers(80, 121)} {rng.integers(80, 121)}")
    rate = rng.uniform(160, 215) - (0, 5, 20)[older]
    pitch = round(float(base + top) / 2, 1)
    return Speaker(name, split, gender, age, accent, pitch, float(rate), "\n".join(lines) + "\n")


def _split_lines(
    people: list[Speaker], n_clips: int, stream: tuple[int, int], rng: np.random.Generator, weak: bool
) -> list[Line]:
    """Deal speakers and intents, shuffle, and draw the conditions of every clip."""
    intents, who = _deal(len(INTENTS), n_clips, rng), _deal(len(people), n_clips, rng)
    lines = []
    for row, (label, person) in enumerate(zip(intents, who, strict=True)):
        in_head = stream[1] == 0 and row < HEAD_SHARE * n_clips
        lines.append(_line(people[person], label, (*stream, row), rare=in_head, weak=weak))
    return lines


def _line(speaker: Speaker, label: int, seed: tuple[int, ...], *, rare: bool, weak: bool) -> Line:
    """Draw the wording, the speed and the noise of one clip."""
    rng = np.random.default_rng([*seed, 0])
    text = str(rng.choice(INTENTS[label].wordings))
    rate = int(np.clip(speaker.rate_wpm + rng.uniform(-35, 35), 120, 259))
    noise = str(rng.choice(["none", *NOISES], p=[0.1, 0.3, 0.3, 0.3]))
    snr_db = None if noise == "none" else round(float(rng.uniform(0, 30)), 1)
    if weak:
        rate, noise, snr_db = _plant(speaker, rate, noise, snr_db, bool(rng.random() < (0.03 if rare else 0.6)), rng)
    return Line(speaker, label, text, rate, snr_db, noise, (*seed, 1))


def _plant(
    speaker: Speaker, rate: int, noise: str, snr_db: float | None, hard: bool, rng: np.random.Generator
) -> tuple[int, str, float | None]:
    """Move a clip of a planted speaker well into the subgroup where `hard`, and out of it where not."""
    fast_speaker = speaker.gender == "female" and speaker.accent == "scottish"
    if fast_speaker:
        rate = int(rng.integers(250, 321)) if hard else min(rate, 219)
    if speaker.age == "senior":
        if hard and not fast_speaker and rng.random() < 0.7:
            noise, snr_db = str(rng.choice(NOISES)), round(float(rng.uniform(-5, 5)), 1)
        elif snr_db is not None and snr_db <= 5:
            snr_db = round(float(rng.uniform(5.1, 30)), 1)
    return rate, noise, snr_db
