"""The LSTM language model of llm_core/models/lstm.py (Zaremba et al. 2014, arXiv:1409.2329)."""

from typing import Any

from llm_core.models.family import Family
from llm_core.models.scale import Shape
from llm_core.params.model import Model


def config(model: Model, sizes: Shape, positions: int, common: dict[str, Any]) -> Any:
    """Its config."""
    from llm_core.models.lstm import LSTMConfig

    return LSTMConfig(hidden_size=sizes.width, num_hidden_layers=sizes.layers, dropout=model.dropout, **common)


def network(config: Any) -> Any:
    """Its class."""
    from llm_core.models.lstm import LSTMForCausalLM

    return LSTMForCausalLM


def hidden_states(network: Any, inputs: dict[str, Any]) -> Any:
    """The states of the last layer."""
    return network.hidden_states(inputs["input_ids"])


def register() -> None:
    """Its module registers both classes where it is imported."""
    from llm_core.models import lstm  # noqa: F401


FAMILY = Family(
    config=config, model_types=("llm_core_lstm",), network=network, hidden_states=hidden_states,
    separates_documents=False, attends=False, register=register,
)  # fmt: skip
