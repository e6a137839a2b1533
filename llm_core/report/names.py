"""Names for people: of benchmarks, figures and reasons, in place of the keys that params, files and ledgers have."""

from llm_core.formats.pages import number

BENCHMARKS = {
    "arc_challenge": "ARC-Challenge",
    "arc_easy": "ARC-Easy",
    "boolq": "BoolQ",
    "commonsense_qa": "CommonsenseQA",
    "copa": "COPA",
    "exact_match": "own questions",
    "gsm8k": "GSM8K",
    "hellaswag": "HellaSwag",
    "lambada_openai": "LAMBADA",
    "mmlu": "MMLU",
    "openbookqa": "OpenBookQA",
    "piqa": "PIQA",
    "sciq": "SciQ",
    "social_iqa": "Social IQa",
    "winogrande": "WinoGrande",
}
FIGURES = {
    "acc": "accuracy",
    "acc_norm": "accuracy, answers weighed by their length",
    "adapter": "weights trained",
    "bits_per_byte": "bits per byte of held-out text",
    "epochs": "passes over the training tokens",
    "final_loss": "training loss at the end, nats per token",
    "flops": "floating-point operations of training",
    "gold_bpb": "bits per byte of the right answer",
    "heldout_bits_per_byte": "bits per byte of held-out text at the end",
    "judge": "verdict of the judge",
    "judge_mass": "probability of the verdicts",
    "judge_prefers_right": "the judge prefers the right answer to that of another question",
    "judge_right": "verdict on the right answer",
    "judge_wrong": "verdict on another question's answer",
    "margin": "lead of the right answer in bits per byte",
    "precision": "number format",
    "run": "finetune",
    "spikes": "steps with an unusual loss or gradient norm",
    "steps": "optimizer steps",
    "test_rows_too_long": "test rows that were too long",
    "tokens": "tokens trained on",
}
KINDS = {"closed": "from memory", "open": "with facts to read"}
REASONS = {
    "bad_words": "too many words of the list of bad words",
    "char_dup_ratio": "too much repeated text",
    "contaminated": "with benchmark text",
    "dup_line_char_frac": "too much text in repeated lines",
    "dup_line_frac": "too many repeated lines",
    "dup_para_char_frac": "too much text in repeated paragraphs",
    "dup_para_frac": "too many repeated paragraphs",
    "exact_duplicate": "exact duplicates",
    "gopher_above_avg_threshold": "words too long on average",
    "gopher_below_alpha_threshold": "too few words with a letter",
    "gopher_below_avg_threshold": "words too short on average",
    "gopher_enough_stop_words": "too few stop words",
    "gopher_long_doc": "too many words",
    "gopher_short_doc": "too few words",
    "language": "in a language not wanted",
    "language_score": "of uncertain language",
    "line_punct_ratio": "too few lines that end in punctuation",
    "list_ratio": "too many lines of lists",
    "near_duplicate": "near duplicates",
    "no_text_in_html": "without text in the page",
    "other_language": "in a language not wanted",
    "quality_model": "below the quality model's threshold",
    "repeated_id": "with an id that occurs twice",
    "short_line_ratio": "too many short lines",
    "too_short": "too short",
}


def benchmark(key: str) -> str:
    """A benchmark's own name; the key in words where it has none here.

    >>> benchmark("arc_easy"), benchmark("my_quiz")
    ('ARC-Easy', 'my quiz')
    """
    return BENCHMARKS.get(key) or words(key)


def figure(key: str) -> str:
    """A figure in words, with its unit where it has one."""
    return FIGURES.get(key) or words(key)


def measure(key: str) -> str:
    """What an evaluation or a gate measures: a figure, a benchmark, or both as BENCHMARK/FIGURE.

    >>> measure("bits_per_byte"), measure("arc_easy/margin")
    ('bits per byte of held-out text', 'ARC-Easy, lead of the right answer in bits per byte')
    """
    task, _, named = key.partition("/")
    first = FIGURES[task] if task == "bits_per_byte" else benchmark(task)
    return f"{first}, {figure(named)}" if named else first


def reason(key: str) -> str:
    """Why a document was dropped, in words.

    >>> reason("gopher_short_doc"), reason("gopher_too_many_hashes"), reason("url_adult")
    ('too few words', 'too many hashes', 'address on the list adult')
    """
    if key.startswith("url_"):
        return f"address on the list {words(key[4:])}"
    if key.startswith("quarantine_"):
        return f"could not be read: {words(key[11:])}"
    for prefix in ("gopher_", "c4_", "fineweb_"):
        if key not in REASONS:
            key = key.removeprefix(prefix)
    return REASONS.get(key) or words(key)


def kind(key: str) -> str:
    """What questions of a kind ask for; the key in words where it has no name here."""
    return KINDS.get(key) or words(key)


def words(key: str) -> str:
    """A key without its underscores."""
    return key.replace("_", " ")


def joined(names: list[str]) -> str:
    """
    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def percent(share: float | None) -> str:
    """A share for people: `28 %`, `0.08 %`.

    >>> percent(0.275), percent(0.0008), percent(0.0), percent(1.0)
    ('28 %', '0.08 %', '0 %', '100 %')
    """
    if share is None or number(share) == "no number":
        return "no number"
    shown = 100 * share
    return f"{shown:.0f} %" if abs(shown) >= 9.95 or shown == 0 else f"{shown:.2g} %"


def large(value: float) -> str:
    """A large count in short: `9.77 million`, `4,846`.

    >>> large(9765706), large(4846), large(2.5e9)
    ('9.77 million', '4,846', '2.5 billion')
    """
    for size, unit in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"
