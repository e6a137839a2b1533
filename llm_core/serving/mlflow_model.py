"""The model that MLflow loads for `mlflow.pyfunc`: a folder in Hugging Face layout that continues prompts.

A script of MLflow's models-from-code: it is copied into the logged model and run there, so it
imports nothing of this project. MLflow requires these argument names.
"""

from typing import Any

import mlflow


class TextModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """`predict(["prompt", …], params={"max_new_tokens": 50})` returns the continued texts."""

    def load_context(self, context: Any) -> None:
        """Load network and tokenizer from the artifact `model`, on a GPU where there is one."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        folder = context.artifacts["model"]
        logging.disable_progress_bar()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.network = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.network.to("cuda" if torch.cuda.is_available() else "cpu")

    def predict(self, context: Any, model_input: list[str], params: dict[str, Any] | None = None) -> list[str]:
        """Continue each prompt greedily."""
        import torch

        texts = []
        for prompt in list(model_input):
            ids = [self.tokenizer.bos_token_id, *self.tokenizer(str(prompt), add_special_tokens=False)["input_ids"]]
            inputs = torch.tensor([ids], device=self.network.device)
            written = self.network.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=False,
                max_new_tokens=int((params or {}).get("max_new_tokens", 50)),
                pad_token_id=self.tokenizer.pad_token_id,
            )
            texts.append(self.tokenizer.decode(written[0, 1:], skip_special_tokens=True))
        return texts


mlflow.models.set_model(TextModel())
