"""What DeepSpeed trains: a network of any family, from a batch to its summed loss.

One interface over causal, masked and encoder-decoder networks: hidden states of the
network's trunk, then head and loss in chunks. Attention masks that keep documents apart are
made here from the loader's segments.
"""

from typing import Any

import torch
from torch import Tensor, nn

from llm_core.errors import UserError
from llm_core.models.chunked_loss import chunked_loss, token_losses
from llm_core.models.family import Objective, family_of


class LanguageModel(nn.Module):
    """A network with its loss. `document_mask`: documents that share a row do not see each other."""

    def __init__(self, network: Any, chunk: int, z_loss: float = 0.0, document_mask: bool = False) -> None:
        super().__init__()
        self.network = network
        self.chunk, self.z_loss, self.document_mask = chunk, z_loss, document_mask
        self.family = family_of(network.config)
        self.objective: Objective = self.family.objective
        if document_mask and not self.family.separates_documents:
            raise UserError(
                f"pretraining.document_mask: {network.config.model_type} cannot keep documents of a row apart; "
                "switch it off"
            )

    def forward(
        self,
        input_ids: Tensor,
        targets: Tensor,
        position_ids: Tensor,
        segment_ids: Tensor,
        decoder_ids: Tensor | None = None,
        scale: float = 1.0,
        per_token: bool = False,
    ) -> tuple[Tensor, Tensor] | Tensor:
        """Loss (+ z-loss) summed over the targets, times `scale`; and the cross-entropy summed, in nats.

        int64 [B, T] each as in `pretraining.batches.Batch`; for the span objective `decoder_ids` [B, S] and
        `targets` [B, S]. With `per_token` instead the cross-entropy of each target, without gradient.
        """
        if per_token:
            return self.token_losses(input_ids, targets, position_ids, segment_ids, decoder_ids)
        hidden = self.hidden_states(input_ids, position_ids, segment_ids, decoder_ids)
        weight, bias = self.head()
        loss, nll = chunked_loss(hidden.flatten(0, 1), weight, bias, targets.flatten(), self.chunk, self.z_loss)
        return loss * scale, nll

    def token_losses(
        self,
        input_ids: Tensor,
        targets: Tensor,
        position_ids: Tensor,
        segment_ids: Tensor,
        decoder_ids: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy of each target in nats, fp32 of the targets' shape; 0 where the target is -100."""
        hidden = self.hidden_states(input_ids, position_ids, segment_ids, decoder_ids)
        weight, bias = self.head()
        return token_losses(hidden.flatten(0, 1), weight, bias, targets.flatten(), self.chunk).view(targets.shape)

    def hidden_states(
        self, input_ids: Tensor, position_ids: Tensor, segment_ids: Tensor, decoder_ids: Tensor | None = None
    ) -> Tensor:
        """What the head reads: [B, T, D], or [B, S, D] from a decoder."""
        inputs: dict[str, Any] = {"input_ids": input_ids}
        if self.document_mask:
            inputs |= {"attention_mask": self._mask(segment_ids), "position_ids": position_ids}
        elif self.objective != "causal":
            inputs["attention_mask"] = (segment_ids > 0).long()
        if decoder_ids is not None:
            inputs["decoder_ids"] = decoder_ids
        return self.family.hidden_states(self.network, inputs)  # type: ignore[no-any-return]

    def head(self) -> tuple[Tensor, Tensor | None]:
        """Weight [V, D] and bias [V] of the output layer."""
        layer = self.network.get_output_embeddings()
        return layer.weight, getattr(layer, "bias", None)

    def _mask(self, segment_ids: Tensor) -> Tensor:
        """Who may attend to whom, [B, 1, T, T]: bool for SDPA, additive for eager attention."""
        allowed = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
        if self.objective == "causal":
            place = torch.arange(segment_ids.shape[1], device=segment_ids.device)
            distance = place[:, None] - place[None, :]
            allowed = allowed & (distance >= 0)
            window = getattr(self.network.config, "sliding_window", None)
            if window:
                allowed = allowed & (distance < window)
        if self.network.config._attn_implementation == "eager":
            low = torch.finfo(torch.float32).min
            return torch.zeros(allowed.shape, device=allowed.device).masked_fill(~allowed, low)
        return allowed
