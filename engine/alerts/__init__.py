"""Alerts: rules that tell a person when intervention is needed, and the ways to tell."""
