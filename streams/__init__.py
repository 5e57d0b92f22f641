"""Kafka and time: events, codecs, panes and watermarks, the workers, configuration, the CLI."""
