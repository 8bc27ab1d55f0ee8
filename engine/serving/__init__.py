"""The inference server: the champion of a registry, answering over HTTP."""
