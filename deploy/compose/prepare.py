"""What must be there before the roles of deploy/compose.yaml start: passwords and a reference.

    python prepare.py FOLDER

What is there already stays. The folder is a volume that only this composition mounts, and everybody
in it may read.
"""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
from importlib import resources
from pathlib import Path

MODEL = "car_loan"


def make_secrets(folder: Path) -> None:
    """Random ones, each in a file of its own."""
    wanted = {
        "clickhouse-password": secrets.token_urlsafe(24),
        "reader-password": secrets.token_urlsafe(24),
        "grafana-password": secrets.token_urlsafe(12),
        "hook-secret": secrets.token_urlsafe(32),
        "pager-key": secrets.token_hex(16),
        "rollback-key": f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode('ascii')}",
    }
    for name, text in wanted.items():
        path = folder / name
        if not path.exists():
            path.write_text(text, encoding="utf-8")
            path.chmod(0o444)


def make_reference(folder: Path) -> None:
    """Of the loans that came before the change, from the sample in the image."""
    out = folder / f"{MODEL}.json"
    if out.exists():
        return
    with resources.as_file(resources.files("examples") / "car_loan_reference.parquet") as sample:
        command = [sys.executable, "-m", "streams", "profile", str(sample)]
        subprocess.run([*command, "--model", MODEL, "--out", str(out)], check=True)
    out.chmod(0o444)


if __name__ == "__main__":
    prepared = Path(sys.argv[1])
    prepared.chmod(0o755)  # other containers have other users
    make_secrets(prepared)
    make_reference(prepared)
