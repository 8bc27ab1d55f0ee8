"""News: articles from NewsAPI or recordings, as a stream of records whose label is the topic."""
