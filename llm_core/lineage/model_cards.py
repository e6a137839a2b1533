"""The model card: what a model is, and what it was trained on, down to the single documents."""

from pathlib import Path
from typing import Any

from llm_core.formats.pages import Block
from llm_core.lineage.training import ancestry, chain, finetuning_documents, locate, metrics_of, summary, training_data
from llm_core.runtime.nested import flatten
from llm_core.runtime.storage import read_json

CONFIG_KEYS = (
    "model_type", "architectures", "hidden_size", "n_embd", "num_hidden_layers", "n_layer", "num_attention_heads",
    "n_head", "vocab_size", "max_position_embeddings", "n_positions", "dtype", "torch_dtype",
)  # fmt: skip


def model_card(model: Path) -> list[Block]:
    """The model card of a model folder.

    Raises UserError for a model that was not trained by this pipeline.
    """
    records = ancestry(model)
    config = read_json(model / "config.json")
    parts = [Block("title", f"Model card: {model.name}")]
    rows = [{"property": key, "value": _plain(config[key])} for key in CONFIG_KEYS if config.get(key) is not None]
    parts += [Block("heading", "Architecture"), Block("table", rows)] if rows else []
    parts.append(Block("heading", "Training data"))
    for record in records:
        first, *sources = summary(record)
        parts += [
            Block("text", f"{first}; loader state below, from which every step's documents can be computed."),
            Block("list", [line.strip() for line in sources]),
            Block("list", [f"{key}: {value}" for key, value in sorted(record.loader.items())]),
        ]
    parts += [Block("text", told) for folder in chain(model) if (told := _made_from(folder))]
    if (model / "metrics.json").is_file():
        figures = [
            {"metric": key, "value": _plain(value)} for key, value in flatten(read_json(model / "metrics.json")).items()
        ]
        parts += [Block("heading", "Figures of the training"), Block("table", figures)]
    parts += [
        Block("heading", "Intended use and limits"),
        Block(
            "text",
            "A model of this size, trained on texts of this age and kind, writes in their manner; it is no source of "
            "facts, has been given no safety training, and repeats the views of its sources.",
        ),
    ]
    return parts


def _plain(value: Any) -> Any:
    """A cell's value: whole numbers as they are in their file, without thousands separators (a year, a vocabulary's
    size)."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _made_from(model: Path) -> str:
    """From which models a finetuned or merged model was made, in a sentence; "" for any other."""
    told = metrics_of(model)
    if merged := told.get("merged"):
        models = ", ".join(f"{one['path']} (weight {one['weight']:.4g})" for one in merged["models"])
        base = f" on the base {merged['base']['path']} (density {merged['density']:g})" if "base" in merged else ""
        return f"{model} was merged ({merged['method']}) from {models}{base}."
    if training_data(model) or not told.get("parent"):
        return ""
    return f"{model} was finetuned from {locate(model, told['parent']['path'])}.{_rows(model)}"


def _rows(model: Path) -> str:
    """What a model was finetuned on, in a sentence."""
    data = metrics_of(model).get("data")
    if not data:
        return ""
    _, documents = finetuning_documents(model)
    made = f", made from {len(documents)} documents" if documents else ""
    return f" Its rows: {data['path']} ({data['digest']}){made}."
