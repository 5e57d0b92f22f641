"""What the harness asks of a real broker beside its clients.

A killed process stays a member of its group until its session ends (10 s), and its transaction open
until it times out. Most cells are not about those waits, so the harness ends both itself: it leaves
the group in the dead member's name (LeaveGroup, as KafkaConsumer.close does), and takes over the
transactional ids (InitProducerId aborts what they left open). Cells about recovery time do neither.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping

import confluent_kafka
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

_LEAVE_GROUP, _LIST_TRANSACTIONS = 13, 66
_WAIT_S = 60.0
_QUIET = {"log_level": 0}


class Broker:
    """One broker at ``address`` (host:port), which also is every coordinator."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._admin = AdminClient({"bootstrap.servers": address, **_QUIET})

    def make_topic(
        self, name: str, partitions: int, settings: Mapping[str, str] | None = None
    ) -> None:
        made = self._admin.create_topics(
            [NewTopic(name, partitions, 1, config=dict(settings or {}))]
        )
        made[name].result(_WAIT_S)
        deadline = time.monotonic() + _WAIT_S
        while not self._led(name, partitions) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _led(self, name: str, partitions: int) -> bool:
        """Whether everybody can read all of them by now."""
        found = self._admin.list_topics(name, timeout=_WAIT_S).topics[name].partitions
        return sum(each.leader >= 0 for each in found.values()) == partitions

    def delete_topic(self, name: str) -> None:
        self._admin.delete_topics([name], operation_timeout=_WAIT_S)[name].result(_WAIT_S)
        deadline = time.monotonic() + _WAIT_S
        while name in self.partitions() and time.monotonic() < deadline:
            time.sleep(0.05)

    def add_partitions(self, name: str, total: int) -> None:
        self._admin.create_partitions([NewPartitions(name, total)])[name].result(_WAIT_S)

    def set_config(self, name: str, key: str, value: str) -> None:
        resource = ConfigResource(ResourceType.TOPIC, name, set_config={key: value})
        for done in self._admin.alter_configs([resource]).values():
            done.result(_WAIT_S)

    def delete_before(self, name: str, offsets: Mapping[int, int]) -> None:
        """Move the first offset of partitions forward, as retention does."""
        places = [confluent_kafka.TopicPartition(name, p, o) for p, o in offsets.items()]
        for done in self._admin.delete_records(places).values():
            done.result(_WAIT_S)

    def partitions(self) -> dict[str, int]:
        topics = self._admin.list_topics(timeout=_WAIT_S).topics
        return {name: len(topic.partitions) for name, topic in topics.items()}

    def members(self, group: str) -> list[str]:
        try:
            described = self._admin.describe_consumer_groups([group])[group].result(_WAIT_S)
        except confluent_kafka.KafkaException:
            return []  # there is no such group yet
        return [member.member_id for member in described.members]

    def leave(self, group: str) -> None:
        """Nobody of this group is alive: the broker need not wait for them."""
        for member in self.members(group):
            self._ask(_LEAVE_GROUP, 0, _string(group) + _string(member), flexible=False)

    def end_transactions(self, prefix: str) -> None:
        """Abort what transactional ids with this prefix have left open."""
        for name, state in self.transactions().items():
            if name.startswith(prefix) and state == "Ongoing":
                settings = {"bootstrap.servers": self.address, "transactional.id": name, **_QUIET}
                confluent_kafka.Producer(settings).init_transactions(_WAIT_S)

    def transactions(self) -> dict[str, str]:
        """The state of each transactional id that the broker knows."""
        reply = self._ask(_LIST_TRANSACTIONS, 0, b"\x01\x01\x00", flexible=True)
        at = 4 + 2  # throttle time, error code
        unknown, at = _varint(reply, at)
        for _ in range(unknown - 1):
            length, at = _varint(reply, at)
            at += length - 1
        count, at = _varint(reply, at)
        found = {}
        for _ in range(count - 1):
            length, at = _varint(reply, at)
            name = reply[at : at + length - 1].decode()
            at += length - 1 + 8  # the producer's id
            length, at = _varint(reply, at)
            found[name] = reply[at : at + length - 1].decode()
            at += length - 1
            _, at = _varint(reply, at)
        return found

    def _ask(self, key: int, version: int, body: bytes, *, flexible: bool) -> bytes:
        host, _, port = self.address.rpartition(":")
        header = struct.pack(">hhi", key, version, 1) + _string("driftline-faults")
        request = header + (b"\x00" if flexible else b"") + body
        with socket.create_connection((host, int(port)), timeout=_WAIT_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
            reply = connection.recv(size, socket.MSG_WAITALL)
        return reply[5:] if flexible else reply[4:]


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
