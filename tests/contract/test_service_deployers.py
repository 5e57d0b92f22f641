"""Deployers that call a service: MLflow and Spinnaker, against stand-ins that answer as they do
(MLflow's answers and status codes are those of a real server), and how a cluster's refusals read.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sinks.credentials import SecretSource
from sinks.deployers.cluster import Cluster, ClusterSettings
from sinks.deployers.mlflow import Mlflow, MlflowSettings
from sinks.deployers.order import Effect, Order, Refused
from sinks.deployers.receiver import build_deployers
from sinks.deployers.settings import DeployersSettings
from sinks.deployers.spinnaker import Spinnaker, SpinnakerSettings
from sinks.deployers.traffic import HttpRouteSettings
from sinks.egress import Egress, EgressSettings, RetryLater
from sinks.errors import Permanent

Answer = tuple[int, Any]
Service = Callable[[str, str, dict[str, str], Any], Answer]
ORDER = Order("rollback_1", "fraud", "2", "1")
BEARER = "token-of-the-registry"


@asynccontextmanager
async def serving(
    answer: Service, extra: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A server that answers JSON; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (x.partition(":") for x in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        status, said = answer(method, target, headers, json.loads(body) if body else None)
        text = said if isinstance(said, bytes) else json.dumps(said).encode()
        writer.write(
            f"HTTP/1.1 {status} x\r\n{extra}content-length: {len(text)}\r\n\r\n".encode() + text
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


class Registry:
    """MLflow's registry with versions 1 and 2 of one model, and 3 still being made."""

    def __init__(self) -> None:
        self.alias = {"champion": "2"}
        self.status = {"1": "READY", "2": "READY", "3": "PENDING_REGISTRATION"}
        self.writes: list[str] = []
        self.moved_back = 0

    def __call__(self, method: str, target: str, headers: dict[str, str], body: Any) -> Answer:
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        given = body if method == "POST" else query
        if headers.get("authorization") != f"Bearer {BEARER}":
            return 401, {"error_code": "UNAUTHENTICATED"}
        if given.get("name") != "fraud":
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
        match method, parts.path:
            case "GET", "/api/2.0/mlflow/registered-models/alias":
                if given["alias"] not in self.alias:
                    return 400, {"error_code": "INVALID_PARAMETER_VALUE"}
                return 200, self._version(self.alias[given["alias"]])
            case "GET", "/api/2.0/mlflow/model-versions/get":
                if given["version"] not in self.status:
                    return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
                return 200, self._version(given["version"])
            case "POST", "/api/2.0/mlflow/registered-models/alias":
                self.writes.append(given["version"])
                if self.moved_back:
                    self.moved_back -= 1
                else:
                    self.alias[given["alias"]] = given["version"]
                return 200, {}
            case _:
                return 404, {"error_code": "ENDPOINT_NOT_FOUND"}

    def _version(self, version: str) -> dict[str, Any]:
        return {
            "model_version": {
                "name": "fraud",
                "version": version,
                "status": self.status[version],
            }
        }


def mlflow(port: int, *, dry_run: bool = False, token: str = BEARER, **more: Any) -> Mlflow:
    settings = MlflowSettings(
        "registry",
        url=f"http://127.0.0.1:{port}/",
        token=SecretSource(env="T"),
        dry_run=dry_run,
        **more,
    )
    egress = Egress(EgressSettings(allow_private=(f"127.0.0.1:{port}",), total_timeout_ms=2_000))
    return Mlflow(settings, egress, {"T": token})


def with_registry(main: Callable[[Registry, int], Any]) -> None:
    async def run() -> None:
        registry = Registry()
        async with serving(registry) as port:
            await main(registry, port)

    asyncio.run(run())


def test_an_alias_moves_back_once_and_a_repeat_does_nothing() -> None:
    async def main(registry: Registry, port: int) -> None:
        first = await mlflow(port).roll_back(ORDER)
        second = await mlflow(port).roll_back(ORDER)
        assert (first.effect, second.effect) == (Effect.DONE, Effect.ALREADY)
        assert registry.writes == ["1"]
        assert registry.alias == {"champion": "1"}

    with_registry(main)


def test_a_dry_run_moves_no_alias() -> None:
    async def main(registry: Registry, port: int) -> None:
        assert (await mlflow(port, dry_run=True).roll_back(ORDER)).effect is Effect.DONE
        assert registry.writes == []

    with_registry(main)


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (Order("k", "fraud", "1", "2"), ""),
        (Order("k", "fraud", "3", "1"), "does not point to 3"),
        (Order("k", "fraud", "2", "3"), "not ready"),
        (Order("k", "fraud", "2", "9"), "404"),
        (Order("k", "other", "2", "1"), "404"),
    ],
)
def test_an_alias_that_is_not_as_expected_is_left_alone(order: Order, why: str) -> None:
    async def main(registry: Registry, port: int) -> None:
        if why:
            with pytest.raises(Refused, match=why):
                await mlflow(port).roll_back(order)
        else:
            assert (await mlflow(port).roll_back(order)).effect is Effect.ALREADY
        assert registry.writes == []

    with_registry(main)


def test_an_alias_that_is_moved_again_meanwhile_is_looked_at_anew() -> None:
    async def main(registry: Registry, port: int) -> None:
        registry.moved_back = 1
        with pytest.raises(RetryLater, match="moved again"):
            await mlflow(port).roll_back(ORDER)
        await mlflow(port).roll_back(ORDER)
        assert registry.alias == {"champion": "1"}

    with_registry(main)


def test_an_unknown_alias_and_a_wrong_token_are_said_without_the_token() -> None:
    async def main(registry: Registry, port: int) -> None:
        with pytest.raises(Permanent, match="400"):
            await mlflow(port, alias="blue").roll_back(ORDER)
        with pytest.raises(RetryLater, match="401") as caught:
            await mlflow(port, token="wrong-0123456789").roll_back(ORDER)
        assert "wrong" not in str(caught.value)

    with_registry(main)


@pytest.mark.parametrize("dry_run", [True, False])
def test_spinnaker_gets_the_payload_that_its_trigger_asks_for(dry_run: bool) -> None:
    events: list[Any] = []

    def gate(method: str, target: str, headers: dict[str, str], body: Any) -> Answer:
        events.append((method, target, body))
        return 200, {"eventProcessed": True, "eventId": "e1"}

    async def main() -> None:
        async with serving(gate) as port:
            spinnaker = spinnaker_at(port, dry_run=dry_run)
            assert (await spinnaker.roll_back(ORDER)).effect is Effect.DONE

    asyncio.run(main())
    payload = {
        "action_key": "rollback_1",
        "model": "fraud",
        "version": "2",
        "return_to": "1",
        "secret": "shared",
    }
    sent = [("POST", "/webhooks/webhook/driftline", payload)]
    assert events == ([] if dry_run else sent)


def spinnaker_at(port: int, *, dry_run: bool = False) -> Spinnaker:
    settings = SpinnakerSettings(
        "spinnaker",
        url=f"http://127.0.0.1:{port}/webhooks/webhook/driftline",
        secret=SecretSource(env="S"),
        dry_run=dry_run,
    )
    egress = Egress(EgressSettings(allow_private=(f"127.0.0.1:{port}",), total_timeout_ms=2_000))
    return Spinnaker(settings, egress, {"S": "shared"})


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (200, {"eventProcessed": False}, Refused),
        (200, b"<html>", RetryLater),
        (404, {}, Permanent),
        (429, {}, RetryLater),
        (503, {}, RetryLater),
    ],
)
def test_spinnaker_that_did_not_process_the_event_is_no_success(
    status: int, said: Any, error: type[Exception]
) -> None:
    async def main() -> None:
        async with serving(lambda *_: (status, said)) as port:
            with pytest.raises(error):
                await spinnaker_at(port).roll_back(ORDER)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "said", "error", "wait_ms"),
    [
        (429, {}, RetryLater, 7_000),
        (500, {}, RetryLater, 7_000),
        (503, {}, RetryLater, 7_000),
        (401, {}, RetryLater, 7_000),
        (409, {}, RetryLater, None),
        (200, b"{", RetryLater, None),
        (200, b"[]", Refused, None),
        (403, {"message": "SECRET"}, Refused, None),
        (404, {}, Refused, None),
        (410, {}, Refused, None),
        (301, {}, Refused, None),
    ],
)
def test_what_a_cluster_answers_is_retried_or_refused(
    status: int, said: Any, error: type[Exception], wait_ms: int | None
) -> None:
    async def main() -> None:
        async with serving(lambda *_: (status, said), "retry-after: 7\r\n") as port:
            settings = ClusterSettings(
                server=f"http://127.0.0.1:{port}", token=SecretSource(env="T")
            )
            cluster = Cluster(settings, EgressSettings(), {"T": "t"})
            with pytest.raises(error) as caught:
                await cluster.read("/apis/x/v1/namespaces/a/things/b")
            assert "SECRET" not in str(caught.value)
            if isinstance(caught.value, RetryLater):
                assert caught.value.retry_after_ms == wait_ms

    asyncio.run(main())


def test_the_token_file_is_read_at_each_request(tmp_path: Any) -> None:
    seen: list[str] = []

    def answer(method: str, target: str, headers: dict[str, str], body: Any) -> Answer:
        seen.append(headers["authorization"])
        return 200, {}

    async def main() -> None:
        token = tmp_path / "token"
        token.write_text("at the start")
        async with serving(answer) as port:
            settings = ClusterSettings(
                server=f"http://127.0.0.1:{port}", token=SecretSource(file=str(token))
            )
            cluster = Cluster(settings, EgressSettings(), {})
            for text in ("first", "second"):
                token.write_text(text)
                await cluster.read("/api/v1/x")

    asyncio.run(main())
    assert seen == ["Bearer first", "Bearer second"]


def test_in_a_cluster_the_server_is_the_one_of_the_environment(tmp_path: Any) -> None:
    settings = ClusterSettings(ca_file="", token=SecretSource())
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert Cluster(settings, EgressSettings(), environ)._server == "https://10.96.0.1:443"
    environ["KUBERNETES_SERVICE_HOST"] = "fd00::1"
    assert Cluster(settings, EgressSettings(), environ)._server == "https://[fd00::1]:443"


PEM = Path(__file__).parents[1] / "unit" / "sinks" / "deployer_test.pem"


@pytest.mark.parametrize(
    ("host", "trusts", "works"),
    [("deployer.test", True, True), ("deployer.test", False, False), ("other.test", True, False)],
)
def test_a_cluster_is_trusted_by_its_own_authority_and_name_alone(
    host: str, trusts: bool, works: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    asked: list[str] = []

    def answer(method: str, target: str, headers: dict[str, str], body: Any) -> Answer:
        asked.append(target)
        return 200, {"kind": "Thing"}

    async def loopback(name: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def main() -> None:
        async with serving(answer, tls=context) as port:
            settings = ClusterSettings(
                server=f"https://{host}:{port}",
                ca_file=str(PEM) if trusts else "",
                token=SecretSource(env="T"),
            )
            cluster = Cluster(settings, EgressSettings(), {"T": "t"}, loopback)
            if works:
                assert await cluster.read("/api/v1/x") == {"kind": "Thing"}
            else:
                with pytest.raises(RetryLater, match="certificate"):
                    await cluster.read("/api/v1/x")

    asyncio.run(main())
    assert asked == (["/api/v1/x"] if works else [])


def test_a_missing_token_stops_the_start_of_whatever_needs_it() -> None:
    token = SecretSource(env="NOT_SET")
    with pytest.raises(Permanent, match="NOT_SET"):
        Cluster(
            ClusterSettings(server="https://k.example", ca_file="", token=token),
            EgressSettings(),
            {},
        )
    egress = Egress(EgressSettings())
    with pytest.raises(Permanent, match="NOT_SET"):
        Mlflow(MlflowSettings("m", url="https://m.example", token=token), egress, {})
    where = "https://s.example"
    for settings in (
        SpinnakerSettings("s", url=where, token=token),
        SpinnakerSettings("s", url=where, secret=token),
    ):
        with pytest.raises(Permanent, match="NOT_SET"):
            Spinnaker(settings, egress, {})


def test_a_way_out_for_a_cluster_leads_nowhere_else() -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    settings = ClusterSettings(ca_file="", token=SecretSource())
    cluster = Cluster(settings, EgressSettings(), environ)
    with pytest.raises(Permanent, match="not public"):
        cluster._egress.check("https://10.96.0.2:443/x")


def test_names_and_clusters_of_deployers_must_fit() -> None:
    with pytest.raises(ValueError, match="no name"):
        DeployersSettings(http_routes=(HttpRouteSettings(),))
    with pytest.raises(ValueError, match="named twice"):
        DeployersSettings(http_routes=(HttpRouteSettings("a"),), mlflow=(MlflowSettings("a"),))
    with pytest.raises(ValueError, match="'prod' is not listed"):
        DeployersSettings(http_routes=(HttpRouteSettings("a", cluster="prod"),))


def test_a_deployer_that_cannot_be_made_is_named() -> None:
    settings = DeployersSettings(http_routes=(HttpRouteSettings("route"),))
    with pytest.raises(Permanent, match=r"'route'.*cluster"):
        build_deployers(settings, EgressSettings(), {})
    assert build_deployers(DeployersSettings(), EgressSettings(), {}) == ()
