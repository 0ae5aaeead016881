"""One utterance of eSpeak NG, in a process of its own: `python -I -S _espeak.py`.

eSpeak NG keeps the state of its oscillators and noise from one utterance to the next, also across
`espeak_Terminate`: a sentence said twice in one process differs. A fresh process gives the same
bits each time, and a crash of the C library stays here. It is started often, so this file imports
nothing but the standard library (about 25 ms in all) and nothing imports this file.

In: JSON on standard input with `library`, `data` (paths), `voice`, `text`, `tokens` (words whose
pronunciation alone is wanted) and `parameters` (eSpeak's numbers). Out: a line of JSON with
`events` ([character of the text, from 1; sample; IPA]), `alone` (IPA of each token, phones apart
by "_") and `sample_rate`; then the samples, 16 bit, in the machine's byte order.

Source of the C interface: `src/include/espeak-ng/speak_lib.h` of eSpeak NG 1.52.
"""

import ctypes
import json
import sys
from typing import Any

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: samples go to the callback, in the calling thread
_PHONEME_EVENTS, _IN_IPA, _DO_NOT_EXIT = 1, 2, 0x8000  # options of espeak_Initialize
_UTF8, _PHONEMES_IN_BRACKETS = 1, 0x100  # flags of espeak_Synth
_END, _PHONEME = 0, 7  # espeak_EVENT_TYPE


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),  # a union in C; a phoneme's eight bytes may lack a final zero
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


def _speak(job: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    library = ctypes.CDLL(job["library"])
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    options = _PHONEME_EVENTS | _IN_IPA | _DO_NOT_EXIT
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, job["data"].encode(), options)
    if rate <= 0:
        raise RuntimeError(f"eSpeak NG does not start with the data in {job['data']}")
    pieces: list[bytes] = []
    events: list[tuple[int, int, str]] = []
    # Breath is noise, seeded by the clock otherwise.
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))

    def receive(samples: int | None, n_samples: int, list_of_events: Any) -> int:
        if samples and n_samples > 0:
            pieces.append(ctypes.string_at(samples, 2 * n_samples))
        k = 0
        while list_of_events[k].type != _END:
            event = list_of_events[k]
            if event.type == _PHONEME:
                events.append((event.text_position, event.sample, event.id.decode()))
            k += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    _check(library.espeak_SetVoiceByName(job["voice"].encode()), f"no voice '{job['voice']}'")
    for number, value in job["parameters"]:
        _check(library.espeak_SetParameter(number, value, 0), f"no parameter {number}")
    text = job["text"].encode() + b"\0"
    flags = _UTF8 | _PHONEMES_IN_BRACKETS
    _check(library.espeak_Synth(text, len(text), 0, 1, 0, flags, None, None), "no speech was made")
    alone = [_pronounce(library, token) for token in job["tokens"]]
    return {"events": events, "alone": alone, "sample_rate": rate}, b"".join(pieces)


def _pronounce(library: ctypes.CDLL, token: str) -> str:
    text = ctypes.c_char_p(token.encode())
    apart_by_underscore = ord("_") << 8
    phones = library.espeak_TextToPhonemes(ctypes.byref(text), _UTF8, _IN_IPA | apart_by_underscore)
    return str(phones.decode()) if phones else ""


def _check(status: int, problem: str) -> None:
    if status != 0:
        raise RuntimeError(f"eSpeak NG: {problem} (status {status})")


if __name__ == "__main__":
    header, samples = _speak(json.load(sys.stdin))
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + samples)
