"""Make the prompts' wav files and their rows in `texts.tsv`: `python -m rpcb_models.recordings.make`.

Needs Debian's packages asterisk-core-sounds-en (the texts) and asterisk-core-sounds-en-g722 (the sound).
"""

from __future__ import annotations

import gzip
import wave
from pathlib import Path

import numpy as np

from rpcb_models.audio import SAMPLE_RATE, read_audio

HERE = Path(__file__).parent
SOUNDS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
TEXTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
PREFIX = "asterisk-"

PROMPTS = (
    "agent-newlocation",
    "all-circuits-busy-now",
    "cannot-complete-as-dialed",
    "conf-getconfno",
    "conf-invalidpin",
    "conf-leaderhasleft",
    "conf-waitforleader",
    "confbridge-lock-no-join",
    "confbridge-pin",
    "demo-thanks",
    "feature-not-avail-line",
    "followme/status",
    "pbx-invalidpark",
    "priv-introsaved",
    "queue-periodic-announce",
    "queue-youarenext",
    "ss-noservice",
    "tt-weasels",
    "vm-msgforwarded",
    "vm-newuser",
)

MISSPELT = {"represenatives": "representatives"}


def main() -> None:
    """Write the prompts; the other recordings and their rows stay as they are."""
    texts = transcripts(TEXTS)
    table = HERE / "texts.tsv"
    rows = [row for row in table.read_text("utf-8").splitlines() if not row.startswith(PREFIX)]
    for prompt in PROMPTS:
        name = PREFIX + prompt.replace("/", "-") + ".wav"
        _write(HERE / name, (SOUNDS / f"{prompt}.g722").read_bytes())
        rows.append(f"{name}\t{texts[prompt]}")
    table.write_text("\n".join(sorted(rows)) + "\n", "utf-8")


def transcripts(listing: Path) -> dict[str, str]:
    """Read what each prompt says, by its name, from `core-sounds-en.txt.gz`."""
    lines = gzip.decompress(listing.read_bytes()).decode().splitlines()
    split = (line.partition(":") for line in lines if line and not line.startswith(";"))
    return {
        name.strip(): " ".join(MISSPELT.get(word, word) for word in text.split()) for name, _, text in split
    }


def _write(path: Path, g722: bytes) -> None:
    samples = np.rint(read_audio(g722, "g722") * 2**15).clip(-(2**15), 2**15 - 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())


if __name__ == "__main__":
    main()
