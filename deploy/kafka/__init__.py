"""A real Apache Kafka on this machine, from its jars: for the tests and for trying things out."""
