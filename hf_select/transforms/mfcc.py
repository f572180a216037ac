"""MFCC: mel-frequency cepstral coefficients of every clip, equal to librosa's, or their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hf_select.errors import ArgumentError
from hf_select.transforms.cepstrum import BACKENDS, Recipe, cepstra, cepstral_statistics
from hf_select.transforms.clips import config_state, file_stamps, read_clips, restore_config, status_text

if TYPE_CHECKING:
    from datasets import Features

__all__ = ["MFCC"]

GROUP_FRAMES = 1 << 14  # clips wait until they make so many frames together: memory does not grow with the batch


@dataclass(frozen=True)
class MFCC:
    """Compute the mel-frequency cepstral coefficients (MFCC) of every clip, or pooled statistics of them.

    Reads: `column`, an Audio column (bytes and path, decoded arrays, or torchcodec decoders); mono, resampled to
    `sampling_rate`. The values are those of `librosa.feature.mfcc` called on each clip alone, within 1e-3; `top_db` is
    measured from the peak of the clip, never of the batch. A row's value depends on that row only: with the numpy
    backend, to the bit.

    Args:
        column: the Audio column.
        sampling_rate: Hz; clips of another rate are resampled.
        n_mfcc: coefficients a frame, 1 to `n_mels`.
        n_fft: samples of a Fourier transform.
        win_length: samples of the window, 1 to `n_fft`; it stands in the middle of the `n_fft` samples.
        hop_length: samples from one frame to the next, at least 1.
        n_mels: mel bands (Slaney's scale and norm, librosa's default).
        fmin: lower end of the bands in Hz, 0 to below `fmax`.
        fmax: upper end in Hz, at most half the sampling rate; None is half the sampling rate.
        window: a name that `scipy.signal.get_window` knows, or a tuple of a name and its numbers.
        center: True pads the clip with `n_fft // 2` zeros at both ends, so that frame t is centred on sample t *
            hop_length. With False the first frame starts at sample 0, and a clip shorter than `n_fft` (librosa: an
            error) is padded to one frame.
        preemphasis: coefficient of y[t] - c * y[t - 1], above 0 and at most 1: MelTrim's first step (0.97 is usual; the
            paper gives no number). None leaves the clip as it is.
        top_db: levels are raised to at most so many decibels below the clip's peak, at least 0; None sets no limit.
        lifter: cepstral liftering as in librosa, at least 0; 0 is none.
        pool: "none" gives the frames; "stats" gives mean, standard deviation and standard deviation of the deltas
            (regression over two frames to each side, ends repeated; 0 for a clip of one frame) of each coefficient.
        mfcc_column: name of the new column; None is "mfcc" or, with pool="stats", "mfcc_stats".
        duration_column: if given, also write the decoded seconds under this name, as `Duration` does.
        backend: "numpy"; "torch" (torch.stft, for a GPU); "torchaudio" (needs the extra `hf-select[torchaudio]`). All
            within 1e-3.
        device: for torch and torchaudio, such as "cuda:0"; None is the CPU.
        audio_root: folder that relative paths start from and that paths may not leave.
        max_seconds: clips longer than this (in seconds, more than 0) are not read: status `too_long`.
        status_column: name of the column with "ok" or "code: detail"; None to leave it out.

    Returns:
        Called with a batch: a dict of the new columns, one value a row; null where the clip can't be used. With
        pool="none" a row is (frames, n_mfcc) float32, frames = 1 + samples // hop_length for even `n_fft` and
        center=True; with pool="stats" (3 * n_mfcc,) float32.

    Raises:
        ArgumentError: at construction, for numbers that have no meaning together.
        ColumnError: when there is no `column`. A bad clip raises nothing: it has a status.
        MissingPackageError: when backend="torchaudio" and torchaudio does not load.

    Reference: MFCC as MelTrim's step 1 asks for (20 coefficients; section 3, "MFCC Feature Extraction"). Its other
    numbers are not in the paper: the 25 ms window, 10 ms hop and 40 bands are ours.

    Relations: `Duration` for the length alone. When every row of the first batch is bad, `Dataset.map` can't guess the
    type of a column: pass `features={**ds.features, **transform.features}`, as `with_columns` does. In
    `map(num_proc=...)` use "numpy".

    >>> import numpy as np
    >>> second = {"array": np.sin(np.arange(16000, dtype=np.float32)), "sampling_rate": 16000}
    >>> columns = MFCC(n_mfcc=13)({"audio": [second, None]})
    >>> columns["mfcc"][0].shape, columns["mfcc"][1]
    ((101, 13), None)
    >>> MFCC(n_mfcc=13, pool="stats")({"audio": [second]})["mfcc_stats"][0].shape
    (39,)
    """

    column: str = "audio"
    sampling_rate: int = 16000
    n_mfcc: int = 20
    n_fft: int = 512
    win_length: int = 400
    hop_length: int = 160
    n_mels: int = 40
    fmin: float = 0.0
    fmax: float | None = None
    window: str | tuple[Any, ...] = "hann"
    center: bool = True
    preemphasis: float | None = None
    top_db: float | None = 80.0
    lifter: float = 0
    pool: str = "none"
    mfcc_column: str | None = None
    duration_column: str | None = None
    backend: str = "numpy"
    device: str | None = None
    audio_root: str | Path | None = None
    max_seconds: float = 600.0
    status_column: str | None = "audio_status"

    revision: ClassVar[int] = 1  # raised whenever the output changes, so that no cache serves old numbers

    def __post_init__(self) -> None:
        """Check every setting before any clip is read."""
        _ = self.recipe
        if self.pool not in ("none", "stats"):
            raise ArgumentError(f'pool must be "none" or "stats", and is {self.pool!r}.')
        if self.backend not in BACKENDS:
            raise ArgumentError(f"backend must be one of {', '.join(BACKENDS)}, and is {self.backend!r}.")
        if self.device is not None and self.backend == "numpy":
            raise ArgumentError(
                f'device={self.device!r} needs backend="torch" or "torchaudio": numpy works on the CPU.'
            )
        names = [name for name in (self.output_column, self.duration_column, self.status_column) if name]
        if len(set(names)) < len(names):
            raise ArgumentError(f"The new columns must have different names, and are {', '.join(names)}.")

    @property
    def recipe(self) -> Recipe:
        """The numbers that define the coefficients, without where they come from and go to."""
        return Recipe(**{field.name: getattr(self, field.name) for field in fields(Recipe)})

    @property
    def output_column(self) -> str:
        """Name of the column with the coefficients."""
        return self.mfcc_column or ("mfcc" if self.pool == "none" else "mfcc_stats")

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return the new columns of one batch."""
        values: list[np.ndarray | None] = []
        durations: list[float | None] = []
        statuses: list[str] = []
        waiting: dict[int, np.ndarray] = {}  # row -> samples not yet worked on
        frames = 0
        for row, clip in enumerate(self._clips(batch)):
            values.append(None)
            durations.append(clip.duration if clip.ok else None)
            statuses.append(status_text(clip))
            if clip.ok:
                waiting[row] = clip.samples
                frames += 1 + len(clip.samples) // self.hop_length
            if frames >= GROUP_FRAMES:
                self._work_off(waiting, values)
                frames = 0
        self._work_off(waiting, values)
        columns: dict[str, list[Any]] = {self.output_column: values}
        if self.duration_column:
            columns[self.duration_column] = durations
        if self.status_column:
            columns[self.status_column] = statuses
        return columns

    def _clips(self, batch: Mapping[str, Any]) -> Any:
        return read_clips(
            batch,
            self.column,
            sampling_rate=self.sampling_rate,
            audio_root=self.audio_root,
            max_seconds=self.max_seconds,
        )

    def _work_off(self, waiting: dict[int, np.ndarray], values: list[np.ndarray | None]) -> None:
        results = cepstra(list(waiting.values()), self.recipe, self.backend, self.device)
        for row, result in zip(waiting, results, strict=True):
            values[row] = result if self.pool == "none" else cepstral_statistics(result)
        waiting.clear()

    @property
    def features(self) -> Features:
        """Name and type of every new column, for `Dataset.map(..., features=...)`."""
        from datasets import Features, List, Value

        number = Value("float32")
        pooled = self.pool == "stats"
        columns = {
            self.output_column: List(number, length=3 * self.n_mfcc)
            if pooled
            else List(List(number, length=self.n_mfcc))
        }
        if self.duration_column:
            columns[self.duration_column] = Value("float64")
        if self.status_column:
            columns[self.status_column] = Value("string")
        return Features(columns)

    def depends_on(self, ds: Any) -> list[str]:
        """Return what the values depend on besides the rows: size and time of the files that rows name."""
        return file_stamps(ds, self.column, self.audio_root)

    def __getstate__(self) -> dict[str, Any]:
        """Return the configuration, which is all that the fingerprint may depend on."""
        return config_state(self)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Restore the configuration."""
        restore_config(self, state)
