"""A real kube-apiserver with etcd, for the tests that the stand-in takes otherwise.

Neither comes as a Python package. With etcd on the path (Debian: etcd-server) and
DRIFTLINE_TEST_KUBE_APISERVER naming the binary, the contract of the deployers runs against it as
well; deploy/kubernetes/README.md says how the binary is built.
"""

from __future__ import annotations

import asyncio
import copy
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.contract.kubernetes_schemas import SCHEMAS, Object
from tests.contract.kubernetes_stand_in import TOKEN
from tests.ports import free_port

VARIABLE = "DRIFTLINE_TEST_KUBE_APISERVER"
ADMIN = "token-of-the-administrator"
START_S = 90


@dataclass
class RealApi:
    """What a test does to the server as its administrator."""

    url: str
    client: httpx2.AsyncClient

    async def create(self, path: str, thing: Object) -> Object:
        made = await self._send("POST", path.rpartition("/")[0], thing)
        if "status" in thing:
            made = await self._send("PUT", f"{path}/status", {**made, "status": thing["status"]})
        return made

    async def get(self, path: str) -> Object:
        return await self._send("GET", path)

    async def change(self, path: str, thing: Object) -> None:
        sent = copy.deepcopy(thing)
        made = await self._send("PUT", path, sent)
        if "status" in thing:
            await self._send("PUT", f"{path}/status", {**made, "status": thing["status"]})

    async def allow(self, namespace: str, rules: list[Object]) -> None:
        root = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        group = "rbac.authorization.k8s.io"
        await self._send("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}, {409})
        role = {"metadata": {"name": "driftline"}, "rules": rules}
        await self._send("DELETE", f"{root}/roles/driftline", None, {404})
        await self._send("POST", f"{root}/roles", role)
        binding = {
            "metadata": {"name": "driftline"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "driftline"},
            "subjects": [{"kind": "User", "name": "driftline", "apiGroup": group}],
        }
        await self._send("POST", f"{root}/rolebindings", binding, {409})
        # The authorizer reads roles from a watch, a moment later.
        await asyncio.sleep(0.3)

    async def _send(
        self, method: str, path: str, thing: Object | None = None, spared: set[int] | None = None
    ) -> Object:
        reply = await self.client.request(method, self.url + path, json=thing)
        if reply.status_code >= 300 and reply.status_code not in (spared or set()):
            raise AssertionError(f"{method} {path}: {reply.status_code} {reply.text[:500]}")
        body: Any = reply.json()
        assert isinstance(body, dict)
        return body


def started(binary: str, folder: Path) -> tuple[list[subprocess.Popen[bytes]], str, Path]:
    """Start etcd and the server over ``folder``. Returns them, the URL and the certificate."""
    etcd = shutil.which("etcd")
    if etcd is None:
        raise AssertionError(f"{VARIABLE} is set, and etcd is not on the path")
    client, peer, port = free_port(), free_port(), free_port()
    log = (folder / "log").open("wb")
    (folder / "tokens").write_text(
        f'{ADMIN},admin,1,"system:masters"\n{TOKEN},driftline,2,"system:authenticated"\n'
    )
    key = folder / "key.pem"
    subprocess.run(
        ["/usr/bin/openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True
    )
    at = f"http://127.0.0.1:{client}"
    between = f"http://127.0.0.1:{peer}"
    running = [
        subprocess.Popen(
            [
                etcd,
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls={at}",
                f"--advertise-client-urls={at}",
                f"--listen-peer-urls={between}",
                f"--initial-advertise-peer-urls={between}",
                f"--initial-cluster=default={between}",
            ],
            stdout=log,
            stderr=log,
        )
    ]
    running.append(
        subprocess.Popen(
            [
                binary,
                f"--etcd-servers={at}",
                f"--secure-port={port}",
                "--bind-address=127.0.0.1",
                f"--cert-dir={folder / 'certs'}",
                f"--token-auth-file={folder / 'tokens'}",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={key}",
                f"--service-account-key-file={key}",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--disable-admission-plugins=ServiceAccount",
            ],
            stdout=log,
            stderr=log,
        )
    )
    return running, f"https://127.0.0.1:{port}", folder / "certs" / "apiserver.crt"


@asynccontextmanager
async def connected(url: str, certificate: Path) -> AsyncIterator[RealApi]:
    """The administrator's way in, once the server is ready."""
    for _ in range(START_S * 5):
        if certificate.exists():
            break
        await asyncio.sleep(0.2)
    headers = {"authorization": f"Bearer {ADMIN}"}
    trust = ssl.create_default_context(cafile=str(certificate))
    async with httpx2.AsyncClient(verify=trust, headers=headers, trust_env=False) as client:
        for _ in range(START_S * 5):
            with suppress(httpx2.TransportError):
                if (await client.get(f"{url}/readyz")).status_code == 200:
                    break
            await asyncio.sleep(0.2)
        yield RealApi(url, client)


async def install(api: RealApi) -> None:
    """Install the custom resources, with the schemas that the stand-in has."""
    root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for (group_version, plural, kind), schema in SCHEMAS.items():
        group, _, version = group_version.partition("/")
        annotations = {}
        if group.endswith(".k8s.io"):
            annotations["api-approved.kubernetes.io"] = "https://example.org/a-test"
        await api._send(
            "POST",
            root,
            {
                "metadata": {"name": f"{plural}.{group}", "annotations": annotations},
                "spec": {
                    "group": group,
                    "scope": "Namespaced",
                    "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
                    "versions": [
                        {
                            "name": version,
                            "served": True,
                            "storage": True,
                            "subresources": {"status": {}},
                            "schema": {"openAPIV3Schema": schema},
                        }
                    ],
                },
            },
            {409},
        )
    for group_version, plural, _ in SCHEMAS:
        for _ in range(100):
            reply = await api.client.get(f"{api.url}/apis/{group_version}/{plural}")
            if reply.status_code == 200:
                break
            await asyncio.sleep(0.1)
