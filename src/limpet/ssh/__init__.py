"""SSH under the names that Twisted Conch documents, with Twisted's types."""
