"""An LSTM language model, and a plain recurrent one, with the interface of a transformers causal model.

transformers has none. This file is self-contained: `save_pretrained` copies it into the
model's folder, so that `AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)`
loads it where this project is not installed; with the project imported, no flag is needed.
Source: Zaremba et al. 2014, arXiv:1409.2329 (dropout between layers, not along time).
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class LSTMConfig(PreTrainedConfig):
    """Sizes of an LSTM language model."""

    model_type = "llm_core_lstm"

    def __init__(
        self,
        vocab_size: int = 4096,
        hidden_size: int = 256,
        num_hidden_layers: int = 2,
        dropout: float = 0.0,
        initializer_range: float = 0.05,
        **kwargs: Any,
    ) -> None:
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        self.dropout, self.initializer_range = dropout, initializer_range
        super().__init__(**kwargs)


class LSTMForCausalLM(PreTrainedModel, GenerationMixin):
    """Embedding, stacked LSTM, head; logits [B, T, V] from input_ids [B, T]. The state starts at zero."""

    config_class: type[LSTMConfig] = LSTMConfig
    base_model_prefix = "rnn"
    layers: type[nn.RNNBase] = nn.LSTM
    _tied_weights_keys = {"lm_head.weight": "embedding.weight"}  # noqa: RUF012

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.rnn = self.layers(
            config.hidden_size,
            config.hidden_size,
            config.num_hidden_layers,
            batch_first=True,
            dropout=config.dropout if config.num_hidden_layers > 1 else 0.0,
        )
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        for name, parameter in module.named_parameters(recurse=False):
            if "bias" in name:
                nn.init.zeros_(parameter)
            else:
                nn.init.normal_(parameter, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embedding = value

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def hidden_states(self, input_ids: Tensor) -> Tensor:
        """Last layer's states [B, T, D], what the head reads."""
        return self.dropout(self.rnn(self.dropout(self.embedding(input_ids)))[0])  # type: ignore[no-any-return]

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, **_: Any) -> CausalLMOutput:
        logits = self.lm_head(self.hidden_states(input_ids))
        loss = None
        if labels is not None:
            shifted = logits[:, :-1].flatten(0, 1).float()
            loss = torch.nn.functional.cross_entropy(shifted, labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(self, input_ids: Tensor, **_: Any) -> dict[str, Tensor]:
        return {"input_ids": input_ids}


class RNNConfig(LSTMConfig):
    """Sizes of a plain recurrent language model."""

    model_type = "llm_core_rnn"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)


class RNNForCausalLM(LSTMForCausalLM):
    """The same with Elman's units: a layer's new state is tanh of its input and its state before, without gates."""

    config_class = RNNConfig
    layers = nn.RNN


for config, network in ((LSTMConfig, LSTMForCausalLM), (RNNConfig, RNNForCausalLM)):
    config.register_for_auto_class()
    network.register_for_auto_class("AutoModelForCausalLM")
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModelForCausalLM.register(config, network, exist_ok=True)
