"""An OpenAI-compatible endpoint on loopback, and the model that MLflow serves."""
