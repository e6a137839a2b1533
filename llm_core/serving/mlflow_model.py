"""The model that MLflow loads for `mlflow.pyfunc`: a folder in Hugging Face layout, used as what it is.

A script of MLflow's models-from-code: it is copied into the logged model and run there, so it cannot import a module
beside it. It loads by the same code as `llm-core generate` and `serve` do: a model with a head was once loaded as
a language model, with random weights where the head's checkpoint has none. The package must therefore be installed
where the model is loaded; without it, transformers loads the folder `artifacts/model`. MLflow requires these argument
names. `predict` states no type of its result, because it has several, and MLflow warns of each that is general.
"""

from pathlib import Path
from typing import Any

import mlflow


class Model(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """`predict(["prompt", …], params={"max_new_tokens": 50})` of a language model returns texts.

    That is, each prompt with its continuation; of an encoder-decoder, its answer alone. A model that writes no text
    returns for each item the fields that `llm-core serve` sends. An item of several texts has tabs between them, as
    `llm-core classify` reads it: two texts, a question and its context, or a question and its choices.
    """

    def load_context(self, context: Any) -> None:
        """Load network and tokenizer from the artifact `model`, on a GPU where there is one.

        Raises UserError, in one line, where the folder holds no model that can be used so, or lacks weights.
        """
        from llm_core.models.loading import load
        from llm_core.params.serving import Serving
        from llm_core.serving.server import guarded_app, output_of

        folder = Path(context.artifacts["model"])
        text = output_of(folder) == "text"
        self.loaded = load(folder) if text else None
        self.app: Any = None if text else guarded_app(folder, "auto", Serving())

    def predict(self, context: Any, model_input: list[str], params: dict[str, Any] | None = None):  # type: ignore[no-untyped-def]
        """The text, label, entities, answer or vector for each item; a text is continued greedily.

        Raises RefusedError for an item that is too long or has not as many texts as the model reads.
        """
        items = list(model_input)
        if self.loaded:
            from llm_core.training.pretraining.samples import sample

            new = int((params or {}).get("max_new_tokens", 50))
            return sample(self.loaded.network, self.loaded.tokenizer, items, new_tokens=new, temperature=0)
        from llm_core.serving.one_pass import MAXIMUM_TEXTS

        found: list[Any] = []
        for first in range(0, len(items), MAXIMUM_TEXTS):
            lines = items[first : first + MAXIMUM_TEXTS]
            request = self.app.translate({"input": [self.app.texts_of(line) for line in lines]}, "input")
            found += self.app.read(request)
        return [{key: value for key, value in one.items() if key not in ("index", "object")} for one in found]


mlflow.models.set_model(Model())
