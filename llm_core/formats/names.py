"""Names for people: of benchmarks, figures and reasons, in place of the keys that params, files and ledgers have.

Every key of a metrics.json that a stage of the default graph writes has a name here, with its unit where it has one;
`tests/test_graph.py` holds that.
"""

from typing import Any

from llm_core.formats.pages import number

FINAL = "trained/"
"""Begins the names of held-out figures that are of another text than those while a model trains. MLflow shows charts in
the order of what is before a name's last slash, so that these single points come after the curves."""
OLD_FINAL = "final/"  # its name in training logs written before 2026-12-01
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
    "after": "after finetuning",
    "answerable": "can be answered from what the model read",
    "answers": "own questions",
    "audit": "audit of pairs that were found similar",
    "audited": "pairs compared in full",
    "baseline": "baseline",
    "baselines": "baselines",
    "before": "before finetuning",
    "benchmark_clusters": "clusters of benchmarks",
    "benchmarks": "benchmarks",
    "bits_per_byte": "bits per byte of held-out text",
    "by_source": "by source",
    "bytes": "bytes",
    "bytes_dropped": "bytes of text dropped",
    "bytes_in": "bytes of text read",
    "bytes_kept": "bytes of text kept",
    "bytes_out": "bytes of text written",
    "bytes_per_token": "bytes per token",
    "chance": "accuracy of a guess",
    "changed_by_step": "documents changed, by source and step",
    "clusters": "clusters of similar documents",
    "compiled": "blocks compiled",
    "countries_unseen_in_pretraining": "test countries unseen in pretraining",
    "data": "data",
    "detectable": "smallest difference that can be shown",
    "digest": "digest",
    "documents": "documents",
    "documents_changed": "documents changed",
    "documents_dropped": "documents dropped",
    "documents_in": "documents read",
    "documents_kept": "documents kept",
    "dropped_by_reason": "documents dropped, by reason",
    "dropped_share": "share of documents dropped, by source",
    "epochs": "passes over the training tokens",
    "exact_match": "exact match",
    "f1": "F1, words of the answer",
    "false_positive_rate": "share of pairs that were not similar",
    "false_positives": "pairs that were not similar",
    "fertility": "tokens per word",
    "final_loss": "training loss at the end, nats per token",
    "finetuned": "test rows of the finetune",
    "flops": "floating-point operations of training",
    "found": "personal data found, by source and kind",
    "gold_bpb": "bits per byte of the right answer",
    "held": "items that a document contains",
    "heldout": "held-out text",
    "heldout_bits_per_byte": "bits per byte of held-out text at the end",
    "heldout_bytes": "bytes of held-out text",
    "heldout_countries": "countries held out",
    "heldout_documents": "documents held out",
    "heldout_dropped": "held-out rows dropped, too long",
    "heldout_rows": "held-out rows",
    "heldout_trimmed": "held-out rows cut to the context",
    "high": "upper end of its 95 % interval",
    "items": "items",
    "items_clean": "items that share no n-gram with a training document",
    "items_touched": "items that share an n-gram with a training document",
    "judge": "verdict of the judge",
    "judge_mass": "probability of the verdicts",
    "judge_prefers_right": "the judge prefers the right answer to that of another question",
    "judge_right": "verdict on the right answer",
    "judge_wrong": "verdict on another question's answer",
    "judged_by": "the judge's model",
    "kinds": "by kind of question",
    "languages": "documents by source and language",
    "lead": "lead over the most frequent answer",
    "length_characters": "documents by source, verdict and length in characters",
    "libraries": "versions of libraries",
    "low": "lower end of its 95 % interval",
    "majority": "accuracy of the most frequent answer",
    "margin": "lead of the right answer in bits per byte",
    "mean": "mean",
    "mean_similarity": "mean similarity (Jaccard)",
    "merges": "merges of the tokenizer",
    "method": "method",
    "metric": "main metric",
    "most_frequent_answer": "accuracy of the most frequent answer",
    "ngram": "bits per byte of an n-gram model",
    "parameters": "parameters",
    "parent": "parent model",
    "path": "folder",
    "perplexity": "perplexity a token",
    "precision": "number format",
    "records_skipped": "records skipped, by type",
    "run": "finetune",
    "sampled_share": "share of documents sampled, by source",
    "score": "score",
    "seeds": "draws of examples",
    "shards": "files",
    "special_tokens": "special tokens",
    "spikes": "steps with an unusual loss or gradient norm",
    "standard_error": "standard error",
    "steps": "optimizer steps",
    "test_countries": "test countries",
    "test_rows": "test rows",
    "test_rows_too_long": "test rows that were too long",
    "tokenizer": "digest of the tokenizer",
    "tokens_digest": "digest of the training tokens",
    "tokens": "tokens",
    "touched": "items that share an n-gram with a document",
    "train": "training text",
    "train_bytes": "bytes of training text",
    "train_countries": "training countries",
    "train_documents": "documents for training",
    "train_dropped": "training rows dropped, too long",
    "train_encoded": "training rows drawn and encoded",
    "train_rows": "training rows",
    "train_trimmed": "training rows cut to the context",
    "trained_parameters": "parameters trained",
    "training": "training",
    "unused_tokens": "tokens of the vocabulary that do not occur",
    "untrained": "bits per byte of random weights",
    "value": "value",
    "vocab_size": "vocabulary, tokens",
    "words": "words",
    "xz": "bits per byte of xz -9",
}
PARTS = {
    "_stderr": "standard error",
    "_low": "lower end of its 95 % interval",
    "_high": "upper end of its 95 % interval",
    "_clean": "on items that share no n-gram with a training document",
    "_touched": "on items that share an n-gram with a training document",
    "_seed_sd": "standard deviation between draws of examples",
}
"""Endings of a figure's key: what is said of the figure."""
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
    """A figure in words, with its unit where it has one; the key in words where it has no name here.

    >>> figure("acc_clean")
    'accuracy, on items that share no n-gram with a training document'
    >>> figure("heldout_bits_per_byte/web")
    'bits per byte of held-out text at the end, web'
    >>> figure("phase/long/tokens")
    'tokens, phase long'
    """
    return known_figure(key) or words(key)


def known_figure(key: str) -> str:
    """The name of a figure by its key, also with endings (`acc_low`), of one source (`KEY/SOURCE`) or of a phase of
    training (`phase/NAME/KEY`); else ""."""
    if key in FIGURES:
        return FIGURES[key]
    first, slash, of = key.partition("/")
    if first == "phase":
        name, _, key = of.partition("/")
        return f"{found}, phase {name}" if (found := known_figure(key)) else ""
    if slash:
        return f"{found}, {of}" if (found := known_figure(first)) else ""
    for ending, said in PARTS.items():
        if key.endswith(ending) and (found := known_figure(key.removesuffix(ending))):
            return f"{found}, {said}"
    return ""


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


def guessed(answers: dict[str, Any]) -> str:
    """A mark for the figures of questions that a model can only guess; "" for those of others."""
    return "" if answers.get("answerable", True) else " (guesses)"


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
