"""What Driftline costs and what its policies are worth, measured."""
