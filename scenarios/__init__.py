"""Scenarios: what streams through the engine, and how it drifts."""
