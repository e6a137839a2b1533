"""The plain recurrent network of llm_core/models/lstm.py (Elman 1990; as a language model Mikolov et al. 2010)."""

from typing import Any

from llm_core.models.families import lstm
from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config."""
    from llm_core.models.lstm import RNNConfig

    return RNNConfig(hidden_size=sizes.width, num_hidden_layers=sizes.layers, dropout=model.dropout, **common)


def network(config: Any) -> Any:
    """Its class."""
    from llm_core.models.lstm import RNNForCausalLM

    return RNNForCausalLM


FAMILY = Family(
    config=config, model_types=("llm_core_rnn",), network=network, hidden_states=lstm.hidden_states,
    separates_documents=False, attends=False, register=lstm.register,
)  # fmt: skip
