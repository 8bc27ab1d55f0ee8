"""Random scenarios under random faults: `python -m tests.simulation --help`."""
