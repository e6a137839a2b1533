"""Params of cleaning."""

from typing import Literal

from pydantic import Field

from llm_core.params.base import Section
from llm_core.params.quality import Rule


class Extraction(Section):
    """From HTML to text (step `extract`)."""

    main_content: bool = True
    """Of whole pages keep the article only, without navigation, teasers, captions and comments; fragments (a field with
    some tags) are always kept whole."""
    sniff: bool = True
    """Treat a text that begins like an HTML page as one, even where its metadata do not say so."""


class Repair(Section):
    """Unicode repair and normalisation (step `repair`)."""

    mojibake: bool = True
    """Undo text decoded in the wrong charset, where ftfy's heuristic finds any."""
    normal_form: Literal["NFC", "NFKC", "none"] = "NFC"
    """Unicode normal form of the text."""
    max_blank_lines: int = 1
    """Longer runs of blank lines are cut to this many; -1 leaves them."""
    characters: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Per source, characters to replace: `{bible: {"`": "'"}}`."""


class Cleaning(Section):
    """Knobs of cleaning: which steps, in which order, and each step's own."""

    steps: list[str] = Field(default=["extract", "repair"])
    """What `clean` runs, in order: steps (extract, repair) and names of recipes."""
    min_characters: int = Field(1, ge=0)
    """A document shorter than this after the last step is dropped as `too_short`."""
    drop_samples: int = Field(20, ge=0)
    """Dropped documents shown per source and reason in drops.jsonl."""
    extraction: Extraction = Extraction()
    repair: Repair = Repair()
    recipes: dict[str, list[Rule]] = Field(default_factory=dict)
    """Named sequences of quality rules beside the built-in ones (gopher_quality, gopher_repetition, c4,
    fineweb_quality, fineweb): `{gentle: [{rule: gopher_quality, min_doc_words: 20}]}`."""
    exempt: list[str] = Field(default_factory=list)
    """Sources that no quality recipe judges: chosen by hand, or of a kind that rules for the web misjudge."""
    memo_entries: int = Field(1 << 20, ge=1 << 10)
    """Distinct words whose tokens a process remembers, at about 100 bytes each; never changes a verdict."""
    workers: int = Field(0, ge=0)
    """Processes on this machine; 0 for one a core. Never changes the bytes that are written."""
    runner: Literal["local", "ray"] = "local"
    """Where shards are processed; never changes the bytes that are written."""
