"""Rows of two texts, under the names that data sets of pairs use. Light to import: method modules use it."""

from llm_core.training.finetuning.method import Row, text

PAIRS = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("first", "second"),
)


def pair_fields(raw: Row) -> tuple[str, str] | None:
    """The fields of the two texts; None where the row has no two of the usual names."""
    return next((pair for pair in PAIRS if pair[0] in raw and pair[1] in raw), None)


def pair_of(raw: Row) -> Row:
    """`text, text_pair` of a raw row. Raises ValueError that names the field that is missing or empty."""
    fields = pair_fields(raw)
    if fields is None:
        known = "; ".join(", ".join(pair) for pair in PAIRS)
        raise ValueError(f"there are no fields of two texts (known names: {known})")
    return {"text": text(raw[fields[0]], fields[0]), "text_pair": text(raw[fields[1]], fields[1])}
