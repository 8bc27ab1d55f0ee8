"""Training as an effect: jobs with content ids, fitted in background processes."""
