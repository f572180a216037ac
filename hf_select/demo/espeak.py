"""Speak a list of sentences with one voice: the program that runs in a fresh process of its own for every speaker.

eSpeak NG keeps hidden state between calls, so the same call can give two waves in one process. A fresh process that
speaks its sentences in a fixed order always gives the same bytes, however many of them run side by side.

It needs nothing but the standard library, which makes it start in a few hundredths of a second. Standard input:
JSON `{"library": path, "utterances": [{"text": str, "rate_wpm": int}, ...]}`. The working folder holds `voice` (a
voice file) and `espeak-ng-data`: relative names, because the library cuts long paths and lowers the case of voice
files. Standard output: per utterance a little-endian uint32 (bytes that follow) and int16 mono PCM at `RATE_HZ`.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys

RATE_HZ = 22050
_SYNCHRONOUS, _RATE, _UTF8 = 2, 1, 1  # AUDIO_OUTPUT_SYNCHRONOUS, espeakRATE, espeakCHARS_UTF8 of speak_lib.h


def speak(library: str, utterances: list[dict[str, object]]) -> list[bytes]:
    """Return the PCM of every utterance, spoken in order by the voice in the working folder."""
    lib = ctypes.CDLL(library)
    if lib.espeak_Initialize(_SYNCHRONOUS, 0, b".", 0) != RATE_HZ:
        raise RuntimeError("eSpeak NG could not read its data folder")
    heard = bytearray()

    def collect(wave: int | None, samples: int, _events: int | None) -> int:
        if wave and samples > 0:
            heard.extend(ctypes.string_at(wave, 2 * samples))
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(collect)
    lib.espeak_SetSynthCallback(callback)
    if lib.espeak_SetVoiceByFile(b"voice") != 0:
        raise RuntimeError("eSpeak NG refused the voice file")
    spoken = []
    for utterance in utterances:
        text = str(utterance["text"]).encode()
        heard.clear()
        lib.espeak_SetParameter(_RATE, utterance["rate_wpm"], 0)
        size = ctypes.c_size_t(len(text) + 1)
        if lib.espeak_Synth(text, size, 0, 0, 0, _UTF8, None, None) != 0 or not any(heard):
            raise RuntimeError(f"eSpeak NG spoke nothing for {utterance['text']!r}")
        spoken.append(bytes(heard))
    return spoken


def main() -> None:
    """Read the order from standard input, speak it, write the waves to standard output."""
    order = json.load(sys.stdin.buffer)
    for pcm in speak(order["library"], order["utterances"]):
        sys.stdout.buffer.write(struct.pack("<I", len(pcm)) + pcm)


if __name__ == "__main__":
    main()
