"""Under which settings each model is judged, and the name by which a verdict says so.

The name is the SHA-256 of the settings written out as YAML: all sections that decide over a
verdict, defaults and the model's own settings included, as a file that driftline reads. None of
these sections has a place for a secret. The judge publishes the text before the first verdict that
names it, so that an auditor finds it in the table ``configurations`` when the file of those days is
long gone.
"""

from __future__ import annotations

import hashlib
from typing import Final

from streams.config import Config
from streams.config_view import sections_yaml
from streams.evidence import EvidenceSettings
from streams.judge import ModelSettings
from streams.wire import Row, encode_rows

_OF_A_MODEL: Final = ("detect", "judge", "drift", "canary", "paired", "online")


class JudgedBy:
    """The settings of each model in ``config``. Models without settings of their own share one
    text, which is written out once."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known: dict[str, tuple[str, str]] = {}

    def settings(self, model: str) -> ModelSettings:
        """What the judge of ``model`` works with."""
        own = self._config.model(model)
        evidence = EvidenceSettings(own.drift, own.canary, own.paired, own.online)
        name, _ = self._written(model)
        return ModelSettings(self._config.time, own.detect, own.judge, evidence, name)

    def text(self, model: str) -> str:
        """The settings as YAML. `configuration_name` of it is what `settings` names them by."""
        return self._written(model)[1]

    def _written(self, model: str) -> tuple[str, str]:
        own = model if model in self._config.models else ""
        if own not in self._known:
            settings = self._config.model(model)
            sections = {name: getattr(settings, name) for name in _OF_A_MODEL}
            text = sections_yaml({"time": self._config.time, **sections})
            self._known[own] = configuration_name(text), text
        return self._known[own]


def configuration_name(text: str) -> str:
    """The name of settings that are written out as ``text``: SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def encode_configuration(text: str, now_ms: int) -> bytes:
    """A message of the topic ``configurations``."""
    row: Row = {"configuration": configuration_name(text), "content": text, "seen_at": now_ms}
    return encode_rows([row])
