"""The model that scores: load it safely, know what it can do, and name it by a digest of its weights."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_select.errors import ArgumentError

__all__ = ["SpeechModel", "at_work", "load_model"]

log = logging.getLogger("hf_select")

_BY_ARCHITECTURE = (
    ("ForCTC", "ctc", "AutoModelForCTC"),
    ("ForConditionalGeneration", "seq2seq", "AutoModelForSpeechSeq2Seq"),
    ("ForSpeechToText", "seq2seq", "AutoModelForSpeechSeq2Seq"),
    ("SpeechEncoderDecoderModel", "seq2seq", "AutoModelForSpeechSeq2Seq"),
    ("SequenceClassification", "classifier", "AutoModelForAudioClassification"),
    ("AudioClassification", "classifier", "AutoModelForAudioClassification"),
)

_ONLY_IN_TRAINING = "masked_spec_embed"  # many published checkpoints lack it


@dataclass(frozen=True)
class SpeechModel:
    """A model, what makes its inputs, and what it is.

    Attributes:
        module: a transformers model.
        extractor: its feature extractor.
        tokenizer: turns text into its tokens and back; None where it has none.
        kind: "encoder", "classifier", "ctc" or "seq2seq".
        name: as it was given, or the class of the module.
        revision: the commit it was pinned to, if it was.
        digest: SHA-256 over weights, configurations, the settings of the extractor, and the tokenizer.
    """

    module: Any
    extractor: Any
    tokenizer: Any
    kind: str
    name: str
    revision: str | None
    digest: str

    @property
    def rate(self) -> int:
        """The sampling rate in Hz that it hears."""
        return int(self.extractor.sampling_rate)

    @property
    def labels(self) -> list[str]:
        """The names of its classes, in order."""
        return [str(self.module.config.id2label[i]) for i in range(len(self.module.config.id2label))]

    @property
    def body(self) -> Any:
        """The part that makes embeddings: the encoder of a sequence-to-sequence model, the base of one with a head."""
        return self.module.get_encoder() if self.module.config.is_encoder_decoder else self.module.base_model

    @property
    def pad_id(self) -> int:
        """The blank of CTC, which also fills up targets."""
        found = getattr(self.module.config, "pad_token_id", None)
        return int(found) if found is not None else int(self.tokenizer.pad_token_id)


def load_model(
    model: Any,
    processor: Any = None,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    dtype: str | None = None,
) -> SpeechModel:
    """Load a model by name, or take a module as it is.

    Args:
        model: a Hub name or folder, or a transformers model; wrappers of distributed training are taken off.
        processor: its feature extractor or processor, or their name; None looks beside the model.
        revision: commit, tag or branch of a Hub name.
        trust_remote_code: run code that comes with the checkpoint; only with a `revision` of 40 hex digits.
        dtype: number format to score in; a module is then copied, never changed.

    Raises:
        ArgumentError: no such model, no processor, code that comes with the checkpoint, a head without weights.
    """
    if trust_remote_code and not re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        raise ArgumentError(
            "trust_remote_code runs code that others can change: give revision= with the 40 hex digits of the commit "
            f"that you have read; got {revision!r}."
        )
    options = {"revision": revision, "trust_remote_code": trust_remote_code}  # of a processor's name as well
    if isinstance(model, str | Path):
        name = str(model)
        module = _load(name, options, dtype)
    else:
        module, name = _unwrapped(model), type(model).__name__
        if dtype is not None and module.dtype != _dtype(dtype):
            module = copy.deepcopy(module).to(_dtype(dtype))
    kind = _kind(type(module).__name__)
    beside = name if isinstance(model, str | Path) else None
    extractor, tokenizer = _processor(processor, module, beside, kind in ("ctc", "seq2seq"), options)
    return SpeechModel(module, extractor, tokenizer, kind, name, revision, _digest(module, extractor, tokenizer))


def _kind(architecture: str) -> str:
    return next((kind for ending, kind, _ in _BY_ARCHITECTURE if ending in architecture), "encoder")


def _unwrapped(model: Any) -> Any:
    from accelerate.utils import extract_model_from_parallel
    from transformers import PreTrainedModel

    module = extract_model_from_parallel(model) if callable(getattr(model, "forward", None)) else model
    if not isinstance(module, PreTrainedModel):
        raise ArgumentError(
            f"model is a transformers model, or the name of one; got {type(module).__name__}. Wrap a network of your "
            "own in a PreTrainedModel, as hf_select.models does with its LeNets."
        )
    return module


def _load(name: str, options: dict[str, Any], dtype: str | None) -> Any:
    import datasets
    import transformers

    import hf_select.models  # noqa: F401  registers the LeNets, so that their names load too

    if datasets.are_progress_bars_disabled():
        transformers.utils.logging.disable_progress_bar()
    config = _from(transformers.AutoConfig, name, options)
    remote = (getattr(config, "auto_map", None) or {}) and not type(config).__module__.startswith("transformers.")
    if remote and not options["trust_remote_code"] and not type(config).__module__.startswith("hf_select."):
        raise ArgumentError(_remote(name))
    architecture = (config.architectures or [""])[0]
    auto = next((auto for ending, _, auto in _BY_ARCHITECTURE if ending in architecture), "AutoModel")
    extra = {} if dtype is None else {"dtype": _dtype(dtype)}
    module, info = _from(getattr(transformers, auto), name, options, output_loading_info=True, **extra)
    missing = sorted(key for key in info["missing_keys"] if not key.endswith(_ONLY_IN_TRAINING))
    if missing:
        raise ArgumentError(
            f"The checkpoint {name!r} has no weights for {len(missing)} parts of {type(module).__name__}, such as "
            f"{missing[0]!r}: they would be random, and so would the scores. Train it first, or choose another one."
        )
    return module


def _from(auto: Any, name: str, options: dict[str, Any], **extra: Any) -> Any:
    try:
        return auto.from_pretrained(name, **options, **extra)
    except Exception as error:  # transformers raises almost anything here
        text = " ".join(str(error).split())
        if "trust_remote_code" in text:
            raise ArgumentError(_remote(name)) from error
        raise ArgumentError(f"{name!r} can't be loaded as {auto.__name__}: {text[:500]}") from error


def _remote(name: str) -> str:
    return (
        f"{name!r} brings code of its own, which hf_select does not run. If you have read it: trust_remote_code=True "
        "together with revision= (the commit, 40 hex digits)."
    )


def _processor(processor: Any, module: Any, name: str | None, writes: bool, options: dict[str, Any]) -> tuple[Any, Any]:
    """Return (feature extractor, tokenizer or None)."""
    import transformers

    if processor is None:
        name = name or getattr(module.config, "_name_or_path", None)
        if not name:
            raise ArgumentError(
                f"Which processor makes the inputs of this {type(module).__name__}? Pass processor=, for example "
                "transformers.AutoFeatureExtractor.from_pretrained(...)."
            )
        processor = name
    if isinstance(processor, str | Path):
        processor = _load_processor(transformers, str(processor), writes, options)
    extractor = getattr(processor, "feature_extractor", processor)
    if not callable(extractor) or not isinstance(getattr(extractor, "sampling_rate", None), int):
        raise ArgumentError(
            f"processor is a feature extractor for sound, or holds one; got {type(processor).__name__}, which has no "
            "sampling_rate."
        )
    return extractor, getattr(processor, "tokenizer", None)


def _load_processor(transformers: Any, name: str, writes: bool, options: dict[str, Any]) -> Any:
    """Load a feature extractor; for a model that writes with the tokenizer beside it, where there is one."""
    if writes:
        try:
            return transformers.AutoProcessor.from_pretrained(name, **options)
        except Exception:  # whatever goes wrong inside: embeddings need no tokenizer, and what does says so
            log.debug("No processor with a tokenizer at %s", name, exc_info=True)
    return _from(transformers.AutoFeatureExtractor, name, options)


def _dtype(name: str) -> Any:
    import torch

    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ArgumentError(f'dtype is "float32", "float64", "bfloat16" or "float16"; got {name!r}.')
    return found


def _digest(module: Any, extractor: Any, tokenizer: Any) -> str:
    import torch

    digest = hashlib.sha256(f"{type(module).__module__}.{type(module).__qualname__}".encode())
    for settings in (module.config, getattr(module, "generation_config", None), extractor):
        values = {} if settings is None else settings.to_dict()
        kept = {k: v for k, v in values.items() if k not in ("_name_or_path", "_commit_hash", "transformers_version")}
        digest.update(json.dumps(kept, sort_keys=True, default=str).encode())
    if tokenizer is not None:
        inner = getattr(tokenizer, "backend_tokenizer", None)
        rules = sorted(tokenizer.get_vocab().items()) if inner is None else inner.to_str()
        digest.update(repr([type(tokenizer).__qualname__, rules, tokenizer.special_tokens_map]).encode())
    for name, weight in sorted(module.state_dict().items()):
        data = weight.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}".encode())
        if data.numel():
            digest.update(data.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def at_work(module: Any, device: Any) -> Iterator[None]:
    """Put a model on its device and in evaluation mode while the block runs; then everything is as it was.

    Random numbers too: older versions of transformers draw some in evaluation.
    """
    import torch

    home = module.device
    modes = [(part, part.training) for part in module.modules()]
    module.to(device).eval()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        for part, mode in modes:
            part.training = mode
        if home != module.device:
            module.to(home)
