"""Where records come from: files, generators, synthesizers; one protocol for all."""
