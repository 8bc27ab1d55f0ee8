"""The replay app: what happened in a run, and why; reads run directories and nothing else."""
