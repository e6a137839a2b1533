"""What DeepSpeed trains: a network of any family, from a batch to its summed loss.

One interface over causal, masked and encoder-decoder networks: hidden states of the
network's trunk, then head and loss in chunks. A network that does more to its logits than the head's product
(Granite scales them, RoBERTa transforms the states before) is asked for its logits instead.
Attention masks that keep documents apart are made here from the loader's segments.
"""

from typing import Any

import torch
from torch import Tensor, nn

from llm_core.errors import UserError
from llm_core.models.chunked_loss import IGNORED, capped, chunked_loss, loss_of_logits, token_losses
from llm_core.models.family import Objective, family_of


class LanguageModel(nn.Module):
    """A network with its loss. `document_mask`: documents that share a row do not see each other."""

    def __init__(self, network: Any, chunk: int, z_loss: float = 0.0, document_mask: bool = False) -> None:
        super().__init__()
        self.network = network
        self.chunk, self.z_loss, self.document_mask = chunk, z_loss, document_mask
        self.family = family_of(network.config)
        self.objective: Objective = self.family.objective
        self.cap: float | None = getattr(network.config, "final_logit_softcapping", None)
        """maximum size of a logit (Gemma), None for no limit"""
        self.apart = True
        """whether head and loss are computed here, in chunks; else the network's own logits are used"""
        self.stretch: int | None = None
        """which stretch of each sequence this process is given in training, where several share it; None for all"""
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
    ) -> tuple[Tensor, Tensor, Tensor] | Tensor:
        """Loss (+ z-loss) summed over the targets, times `scale`; the cross-entropy summed, in nats; and that of each
        target, without gradient, fp32 of the targets' shape, 0 where the target is -100.

        int64 [B, T] each as in `pretraining.batches.Batch`; for the span objective `decoder_ids` [B, S] and
        `targets` [B, S]. With `per_token` instead the cross-entropy of each target, without gradient.
        """
        if per_token:
            return self.token_losses(input_ids, targets, position_ids, segment_ids, decoder_ids)
        if not self.apart:
            logits = self.logits(input_ids, position_ids, segment_ids, decoder_ids)
            loss, nll, losses = loss_of_logits(logits.flatten(0, 1), targets.flatten(), self.z_loss)
            return loss * scale, nll.detach(), losses.view(targets.shape)
        hidden = self.hidden_states(input_ids, position_ids, segment_ids, decoder_ids)
        weight, bias = self.head()
        loss, nll, losses = chunked_loss(
            hidden.flatten(0, 1), weight, bias, targets.flatten(), self.chunk, self.z_loss, self.cap
        )
        return loss * scale, nll, losses.view(targets.shape)

    def token_losses(
        self,
        input_ids: Tensor,
        targets: Tensor,
        position_ids: Tensor,
        segment_ids: Tensor,
        decoder_ids: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy of each target in nats, fp32 of the targets' shape; 0 where the target is -100."""
        if not self.apart:
            with torch.no_grad():
                logits = self.logits(input_ids, position_ids, segment_ids, decoder_ids).flatten(0, 1).float()
                losses = nn.functional.cross_entropy(logits, targets.flatten(), reduction="none", ignore_index=IGNORED)
            return losses.view(targets.shape)
        hidden = self.hidden_states(input_ids, position_ids, segment_ids, decoder_ids)
        weight, bias = self.head()
        losses = token_losses(hidden.flatten(0, 1), weight, bias, targets.flatten(), self.chunk, self.cap)
        return losses.view(targets.shape)

    def hidden_states(
        self, input_ids: Tensor, position_ids: Tensor, segment_ids: Tensor, decoder_ids: Tensor | None = None
    ) -> Tensor:
        """What the head reads: [B, T, D], or [B, S, D] from a decoder."""
        inputs = self._inputs(input_ids, position_ids, segment_ids)
        if decoder_ids is not None:
            inputs["decoder_ids"] = decoder_ids
        return self.family.hidden_states(self.network, inputs)  # type: ignore[no-any-return]

    def logits(
        self, input_ids: Tensor, position_ids: Tensor, segment_ids: Tensor, decoder_ids: Tensor | None = None
    ) -> Tensor:
        """The network's own logits: [B, T, V], or [B, S, V] from a decoder."""
        inputs = self._inputs(input_ids, position_ids, segment_ids)
        if decoder_ids is not None:
            inputs["decoder_input_ids"] = decoder_ids
        if self.objective == "causal":
            inputs["use_cache"] = False
        return self.network(**inputs).logits  # type: ignore[no-any-return]

    def probe(self) -> None:
        """Find out, on a few tokens, whether head and loss can be computed here, and set `apart`.

        Raises UserError where the network cannot be run on text alone.
        """
        ids = torch.arange(8, device=next(self.network.parameters()).device)[None] % int(self.head()[0].shape[0])
        places, segments = torch.arange(8, device=ids.device)[None], torch.ones_like(ids)
        decoder = ids if self.objective == "span" else None
        training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad():
                wanted = self.logits(ids, places, segments, decoder)
                try:
                    weight, bias = self.head()
                    hidden = self.hidden_states(ids, places, segments, decoder)
                    found = capped(nn.functional.linear(hidden, weight, bias), self.cap)
                    self.apart = found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-3, atol=1e-4)
                except (AttributeError, TypeError, RuntimeError, ValueError):
                    self.apart = False
        except (TypeError, RuntimeError, ValueError, AttributeError) as error:
            kind = self.network.config.model_type
            raise UserError(f"a {kind} cannot be trained on text alone ({str(error).splitlines()[0]})") from None
        finally:
            self.network.train(training)

    def head(self) -> tuple[Tensor, Tensor | None]:
        """Weight [V, D] and bias [V] of the output layer."""
        layer = self.network.get_output_embeddings()
        return layer.weight, getattr(layer, "bias", None)

    def _inputs(self, input_ids: Tensor, position_ids: Tensor, segment_ids: Tensor) -> dict[str, Any]:
        """What every network reads: ids, and masks where the objective or `document_mask` needs them."""
        inputs: dict[str, Any] = {"input_ids": input_ids}
        if self.document_mask:
            inputs |= {"attention_mask": self._mask(segment_ids), "position_ids": position_ids}
        elif self.objective != "causal":
            inputs["attention_mask"] = (segment_ids > 0).long()
        if self.stretch is not None and self.training:
            first, length = self.stretch * input_ids.shape[1], input_ids.shape[1]
            positions = torch.arange(first, first + length, device=input_ids.device)
            inputs["position_ids"] = positions.expand(input_ids.shape)
        return inputs

    def _mask(self, segment_ids: Tensor) -> Tensor:
        """Who may attend to whom, [B, 1, T, T]: bool for SDPA, additive for eager attention."""
        allowed = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
        if self.objective == "causal":
            place = torch.arange(segment_ids.shape[1], device=segment_ids.device)
            distance = place[:, None] - place[None, :]
            allowed = allowed & (distance >= 0)
            window = getattr(self.network.config, "sliding_window", None)
            if window and not self.family.narrows_masks:
                allowed = allowed & (distance < window)
        if self.network.config._attn_implementation == "eager":
            low = torch.finfo(torch.float32).min
            return torch.zeros(allowed.shape, device=allowed.device).masked_fill(~allowed, low)
        return allowed
