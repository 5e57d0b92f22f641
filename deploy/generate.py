"""Writes the files under `deploy` that follow from others: topics and rights for Strimzi and
Terraform from deploy/access.py, the schema of a ClickHouse cluster from deploy/sql, what the chart
takes as `config` from docs/reference/configuration.schema.json.

    python -m deploy.generate            writes them
    python -m deploy.generate --check    exit 1 if one is not what it should be
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

if __package__ in (None, ""):  # run as a file: the folders of the repository are the packages
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dashboards.generated_files import generate
from deploy.access import PREFIX, ROLES, TOPICS, Kind, Right, Topic, rights, topic_config
from deploy.chart_schema import chart_schema
from deploy.cluster_schema import cluster_files

HERE: Final = Path(__file__).resolve().parent
INPUTS: Final = ("predictions",)
CLUSTER: Final = "kafka"
"""Of Strimzi: the name of the Kafka resource that topics and users belong to."""
PARTITIONS: Final = 8
REPLICAS: Final = 3
_MADE: Final = "# Made by `python -m deploy.generate`; change deploy/access.py, not this file.\n"


def strimzi_topics() -> str:
    """A KafkaTopic for each internal topic."""
    return _MADE + "".join(_strimzi_topic(topic) for topic in TOPICS)


def _strimzi_topic(topic: Topic) -> str:
    config = "".join(f'    {key}: "{value}"\n' for key, value in topic_config(topic).items())
    return f"""---
apiVersion: kafka.strimzi.io/v1
kind: KafkaTopic
metadata:
  name: {PREFIX}{topic.name}
  labels:
    strimzi.io/cluster: {CLUSTER}
spec:
  partitions: {PARTITIONS if topic.partitioned else 1}
  replicas: {REPLICAS}
  config:
{config}"""


def strimzi_users() -> str:
    """A KafkaUser for each role, with its rights and no others."""
    return _MADE + "".join(
        f"""---
apiVersion: kafka.strimzi.io/v1
kind: KafkaUser
metadata:
  name: driftline-{role}
  labels:
    strimzi.io/cluster: {CLUSTER}
spec:
  authentication:
    type: scram-sha-512
  authorization:
    type: simple
    acls:
{"".join(_strimzi_acl(right) for right in rights(role, INPUTS))}"""
        for role in ROLES
    )


def _strimzi_acl(right: Right) -> str:
    operations = ", ".join(operation.value for operation in right.operations)
    pattern = "prefix" if right.prefix else "literal"
    return f"""      - resource:
          type: {right.kind.value}
          name: {right.name}
          patternType: {pattern}
        operations: [{operations}]
        host: "*"
"""


def terraform_access() -> str:
    """The same as locals of Terraform, in its JSON syntax. Names are without the prefix and inputs
    are left to variables of the module."""
    topics = {
        topic.name: {"partitioned": topic.partitioned, "config": topic_config(topic)}
        for topic in TOPICS
    }
    kinds = {Kind.TOPIC: "Topic", Kind.GROUP: "Group", Kind.TRANSACTION: "TransactionalID"}
    granted = [
        {
            "role": role,
            "type": kinds[right.kind],
            "name": right.name,
            "own": right.own,
            "pattern": "Prefixed" if right.prefix else "Literal",
            "operation": operation.value,
        }
        for role in ROLES
        for right in rights(role, (), prefix="")
        for operation in right.operations
    ]
    made = {
        "//": "Made by `python -m deploy.generate`; change deploy/access.py, not this file.",
        "locals": {"topics": topics, "rights": granted, "roles": list(ROLES)},
    }
    return json.dumps(made, indent=2) + "\n"


def generated() -> dict[Path, str]:
    """Every generated file and what it should hold."""
    files = {
        HERE / "strimzi" / "topics.yaml": strimzi_topics(),
        HERE / "strimzi" / "users.yaml": strimzi_users(),
        HERE / "terraform" / "access.tf.json": terraform_access(),
    }
    sources = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted((HERE / "sql").glob("*.sql"))
        if re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", path.name)
    }
    for name, text in cluster_files(sources).items():
        files[HERE / "clickhouse" / name] = text
    values = HERE / "helm" / "driftline" / "values.schema.json"
    configuration = HERE.parent / "docs" / "reference" / "configuration.schema.json"
    files[values] = chart_schema(
        values.read_text(encoding="utf-8"), configuration.read_text(encoding="utf-8")
    )
    return files


def main(arguments: Sequence[str]) -> int:
    """Write, or with ``--check`` compare."""
    return generate(generated(), HERE.parent, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
