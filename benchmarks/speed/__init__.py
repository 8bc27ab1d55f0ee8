"""How fast the engine is, beside what else one could use, on one job and in one run."""
