"""An hour of random kills, and a flat line of memory."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Final

from deploy.kafka.server import RealKafka
from tests.faults.roles import RoleProcess
from tests.faults.scene import Scene

KILL_EVERY_S: Final = (20.0, 60.0)
MOST_GROWTH_MB_AN_HOUR: Final = 8.0
SAMPLES_A_LINE: Final = 60
"""Of memory, every two seconds: a line is printed every two minutes."""
SETTLED_S: Final = 120.0
"""After a start buffers and caches fill; memory is looked at from then on."""


def resident_mb(role: RoleProcess) -> float:
    status = Path(f"/proc/{role.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def soak(kafka: RealKafka, folder: Path, seed: int, minutes: float) -> int:
    """Two workers: one lives through it all, the other is killed again and again. Nothing may be
    lost or doubled, and the memory of the one that lives must not grow. Returns the exit code."""
    chance = random.Random(seed)
    ends_at = time.monotonic() + 60 * minutes
    samples: list[tuple[float, float]] = []
    with Scene(kafka.address, folder, seed, pause_s=0.1) as scene, scene.traffic:
        survivor = scene.start("summarize", name="survivor")
        victim = scene.start("summarize")
        survivor.wait_ready()
        began = time.monotonic()
        next_kill = began + chance.uniform(*KILL_EVERY_S)
        while time.monotonic() < ends_at:
            now = time.monotonic()
            survivor.check_alive()
            if now >= next_kill:
                victim.kill()
                scene.report.kills += 1
                victim = scene.start("summarize")
                next_kill = now + chance.uniform(*KILL_EVERY_S)
            if now - began > SETTLED_S:
                samples.append((now, resident_mb(survivor)))
                if len(samples) % SAMPLES_A_LINE == 1:
                    minutes_on = (now - began) / 60
                    print(f"after {minutes_on:4.0f} min {samples[-1][1]:6.1f} MB", flush=True)
            time.sleep(2)
        scene.traffic.end()
        scene.wait_read()
        scene.stop(survivor)
        victim.kill()
        report = scene.check()
    # In the first half buffers grow to what the greatest backlog after a kill needs.
    samples = samples[len(samples) // 2 :]
    growth = slope(samples) * 3600
    print(report, *report.examples, sep="\n")
    print(f"memory: {growth:+.1f} MB an hour in the second half, {len(samples)} samples")
    # Shorter than this the line says nothing.
    grew = minutes >= 30 and growth > MOST_GROWTH_MB_AN_HOUR
    return 1 if report.broken or grew else 0


def slope(samples: list[tuple[float, float]]) -> float:
    """Of the line of least squares; 0 for fewer than two samples."""
    if len(samples) < 2:
        return 0.0
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread if spread else 0.0
