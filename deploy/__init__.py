"""How driftline is run: SQL migrations, Kafka for tests, containers."""
