"""The mathematics of driftline: summaries, references, statistics, verdicts, policy.

Nothing here does input or output, reads a clock or knows Kafka. Everything is a frozen value or a
plain function, usable in a notebook.
"""
