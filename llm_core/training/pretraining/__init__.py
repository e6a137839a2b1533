"""Pretraining: data loader, objectives, schedule, engine, checkpoints and the loop."""
