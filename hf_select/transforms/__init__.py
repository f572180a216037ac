"""Transforms: frozen dataclasses that turn a batch into new columns; a row's value depends on that row alone."""

from hf_select.transforms.crop import CropAudio
from hf_select.transforms.duration import Duration
from hf_select.transforms.inputs import AudioInputs
from hf_select.transforms.mfcc import MFCC
from hf_select.transforms.quality import AudioQuality
from hf_select.transforms.speech import SpeechMetadata

__all__ = ["MFCC", "AudioInputs", "AudioQuality", "CropAudio", "Duration", "SpeechMetadata"]
