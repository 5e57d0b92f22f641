"""librdkafka's mock cluster, with its faults: protocol errors that a real broker gives seldom.

It runs in this process, speaks the protocol on loopback, and does what is asked by C functions that
the library exports (streams.embedded_broker tells what it cannot do: transactions, for one).
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import confluent_kafka

PRODUCE: Final = 0
FETCH: Final = 1
OFFSET_COMMIT: Final = 8
NOT_LEADER: Final = 6
REQUEST_TIMED_OUT: Final = 7
COORDINATOR_NOT_AVAILABLE: Final = 15
ILLEGAL_GENERATION: Final = 22
UNKNOWN_MEMBER_ID: Final = 25
REBALANCE_IN_PROGRESS: Final = 27


def _library() -> ctypes.CDLL:
    """The librdkafka that confluent_kafka has loaded."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    paths = {line.split(None, 5)[-1] for line in maps if "librdkafka" in line}
    for path in sorted(paths):
        library = ctypes.CDLL(path)
        if hasattr(library, "rd_kafka_mock_cluster_new"):
            return library
    raise RuntimeError("this librdkafka does not export its mock cluster")


class MockBroker:
    """A cluster of one broker. A topic nobody made has four partitions."""

    def __init__(self) -> None:
        # A client that stays loads the library into this process.
        self._client = confluent_kafka.Producer(
            {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
        )
        self._library = _library()
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        message = ctypes.create_string_buffer(256)
        conf = self._call("rd_kafka_conf_new", pointer)
        client = self._call(
            "rd_kafka_new", pointer, (number, 0), (pointer, conf), (text, message), (number, 256)
        )
        self._cluster = self._call(
            "rd_kafka_mock_cluster_new", pointer, (pointer, client), (number, 1)
        )
        self._on_cluster(
            "rd_kafka_mock_group_initial_rebalance_delay_ms", None, (ctypes.c_int32, 100)
        )
        address: bytes = self._on_cluster("rd_kafka_mock_cluster_bootstraps", text)
        self.address = address.decode()

    def make_topic(
        self, name: str, partitions: int, settings: Mapping[str, str] | None = None
    ) -> None:
        """``settings`` mean nothing to it."""
        del settings
        number = ctypes.c_int
        self._on_cluster(
            "rd_kafka_mock_topic_create",
            number,
            (ctypes.c_char_p, name.encode()),
            (number, partitions),
            (number, 1),
        )

    def push_errors(self, api: int, *codes: int) -> None:
        """The next requests of a kind are answered with these errors, one after the other."""
        array = (ctypes.c_int * len(codes))(*codes)
        self._on_cluster(
            "rd_kafka_mock_push_request_errors_array",
            None,
            (ctypes.c_int16, api),
            (ctypes.c_size_t, len(codes)),
            (ctypes.POINTER(ctypes.c_int), array),
        )

    def close(self) -> None:
        """End the cluster; clients see a broker that is gone."""
        self._on_cluster("rd_kafka_mock_cluster_destroy", None)

    def _on_cluster(self, name: str, result: Any, *arguments: tuple[Any, Any]) -> Any:
        return self._call(name, result, (ctypes.c_void_p, self._cluster), *arguments)

    def _call(self, name: str, result: Any, *arguments: tuple[Any, Any]) -> Any:
        function = getattr(self._library, name)
        function.restype, function.argtypes = result, [kind for kind, _ in arguments]
        return function(*(value for _, value in arguments))
