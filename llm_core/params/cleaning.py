"""Params of cleaning."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from llm_core.params.base import Section
from llm_core.params.languages import language_code
from llm_core.params.quality import AnyRule


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
    """Maximum number of blank lines in a row; longer runs are cut to it; -1 leaves them."""
    characters: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Per source, characters to replace: `{bible: {"`": "'"}}`."""


class Language(Section):
    """Language identification (step `language`)."""

    keep: list[Annotated[str, AfterValidator(language_code)]] = Field(default_factory=list)
    """Languages that are kept, by ISO 639-1 (`en`; `EN`, `en-US` and `eng_Latn` are read as `en`); others are dropped
    as `language`. Empty keeps all."""
    min_score: float = Field(0.0, ge=0, le=1)
    """A document whose likeliest language is less probable than this is dropped as `language_score`."""
    max_characters: int = Field(2000, ge=20)
    """Number of characters, from the beginning of a document, that the language is identified from."""
    trust_declared: bool = True
    """Trust the language that a source declares, and identify it only for documents without one."""


class Pii(Section):
    """Personal data and secrets (step `pii`)."""

    placeholders: dict[Literal["key", "email", "card", "ip", "ipv6", "phone"], str] = Field(
        default={
            "key": "[SECRET_KEY]",
            "email": "[EMAIL]",
            "card": "[CARD_NUMBER]",
            "ip": "[IP_ADDRESS]",
            "ipv6": "[IP_ADDRESS]",
            "phone": "[PHONE_NUMBER]",
        }
    )
    """Placeholder that replaces each kind; a kind that is not named is left as it is."""


class UrlList(Section):
    """One list of addresses (step `block_urls`)."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    """Documents are dropped as `url_NAME`."""
    path: str
    """A file, or a folder of them; plain, gzip or zstd."""
    format: Literal["ut1", "easylist"] = "ut1"
    """`ut1`: hosts and addresses, one a line (folders: files named `domains` and `urls`); `easylist`: filters."""


class BadWords(Section):
    """Words of a list (step `bad_words`)."""

    files: list[str] = Field(default_factory=list)
    """Files with one word or phrase on each line."""
    min_matches: int = Field(3, ge=1)
    """Minimum number of matches; a document with fewer is kept."""
    max_share: float = Field(0.01, ge=0, le=1)
    """Maximum ratio of list matches to words; a document above it is dropped as `bad_words`."""
    keep_fraction: float = Field(0.0, ge=0, le=1)
    """Share of the documents over the limit that is kept nevertheless, chosen by the hash of their ids."""


class QualityModel(Section):
    """The trained quality model (step `model`, verb `train-quality`)."""

    path: str | None = None
    """Folder that `train-quality` wrote; the step `model` needs it."""
    threshold: float | None = Field(None, ge=0, le=1)
    """A document that scores less is dropped as `quality_model`; without it scores are only written to the metadata."""
    passage_characters: int = Field(2000, ge=100)
    """Length of a passage in characters. The model is trained on passages; a document's score is the mean of theirs."""
    max_passages: int = Field(5, ge=1)
    """Maximum number of passages, from the beginning of a document, that are scored."""
    feature_bits: int = Field(18, ge=8, le=26)
    """Size of the classifier, which has 2 ** feature_bits weights."""
    epochs: int = Field(10, ge=1)
    """Number of passes over the passages in training."""
    alpha: float = Field(1e-5, gt=0)
    """Strength of the L2 penalty on the weights."""
    held_out: float = Field(0.2, gt=0, lt=1)
    """Share of the documents that is held out of training, to measure the model."""
    max_documents: int = Field(10_000, ge=10)
    """Maximum number of documents of each side, chosen by hash; training needs about 50 KB of memory a document."""


class PerplexityTraining(Section):
    """The n-gram model of the rule `perplexity` (verb `train-perplexity`)."""

    order: int = Field(5, ge=1, le=8)
    """Length of the longest n-grams, in tokens; CCNet's is 5."""
    max_words: int = Field(65_536, ge=1, le=1 << 24)
    """Maximum number of words in the vocabulary, the most frequent ones; others are spelled character by character."""
    min_count: int = Field(2, ge=1)
    """Minimum number of times that a word or a character occurs in the reference to be in the vocabulary."""
    max_characters: int = Field(1 << 25, ge=1)
    """Maximum number of characters of reference text, by whole documents chosen by hash; training needs some 70 bytes
    of memory for each."""
    held_out: float = Field(0.05, gt=0, lt=1)
    """Share of the reference documents that is held out of training, to measure the model."""
    sample_documents: int = Field(10_000, ge=1)
    """Maximum number of documents, chosen by hash, that the percentiles of head, middle and tail are taken from."""


class Cleaning(Section):
    """Knobs of cleaning: which steps, in which order, and each step's own."""

    steps: list[str] = Field(default=["extract", "repair"])
    """What `clean` runs, in order: recipes and steps (extract, repair, language, pii, block_urls, bad_words, model)."""
    min_characters: int = Field(1, ge=0)
    """A document shorter than this after the last step is dropped as `too_short`."""
    max_document_bytes: int = Field(64 << 20, ge=1)
    """Maximum size of a document in UTF-8 bytes; a larger one is dropped without being read, as `quarantine_size`."""
    max_seconds: float = Field(120.0, gt=0)
    """Maximum seconds for one document in all steps; one that takes longer is dropped as `quarantine_time`. The steps
    take time in proportion to a document's size, so that this bound is for faults of a library alone."""
    drop_samples: int = Field(20, ge=0)
    """Number of dropped documents per source and reason that drops.jsonl shows."""
    extraction: Extraction = Extraction()
    repair: Repair = Repair()
    language: Language = Language()
    pii: Pii = Pii()
    url_lists: list[UrlList] = Field(default_factory=list)
    """Lists of addresses whose documents are dropped (step `block_urls`)."""
    bad_words: BadWords = BadWords()
    quality_model: QualityModel = QualityModel()
    perplexity: PerplexityTraining = PerplexityTraining()
    recipes: dict[str, list[AnyRule]] = Field(default_factory=dict)
    """Named sequences of quality rules beside the built-in ones (gopher_quality, gopher_repetition, c4,
    fineweb_quality, fineweb): `{gentle: [{rule: gopher_quality, min_doc_words: 20}]}`."""
    exempt: list[str] = Field(default_factory=list)
    """Sources that no quality recipe judges: chosen by hand, or of a kind that rules for the web misjudge."""
    other_languages: Literal["pass", "drop", "judge"] = "pass"
    """What a recipe does with a document that is not in the language of its rules (`language` of a rule; the published
    rules are for English): pass over it and count it as `RECIPE_other_language`, drop it as `other_language`, or judge
    it all the same. The language is the declared one or that of the step `language`; without either, the script
    decides."""
    memo_entries: int = Field(1 << 20, ge=1 << 10)
    """Maximum number of distinct words whose tokens a process remembers, at about 100 bytes each. It changes speed and
    memory, never a verdict."""
