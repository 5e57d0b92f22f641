"""Small real data, ready configurations, and stand-ins for what driftline talks to."""
