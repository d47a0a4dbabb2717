"""Settings of the plugin: where outputs, thumbnails and workflows are. Without them it does nothing at all.

They stand in a file of their own, readable for one user only, since they may hold the secret key of a bucket. Datasette
shows its metadata to everybody, so there is only the name of that file in it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

from comfygen.config import Config, StoreConfig

NAME: Final = "comfygen"
KEY: Final = "settings"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the plugin knows about its surroundings."""

    state_dir: Path
    store: StoreConfig
    workflows: Path | None = None
    presets: Path | None = None

    @property
    def thumbnails(self) -> Path:
        """The folder of thumbnails that were made already; it may be deleted any time."""
        return self.state_dir / "thumbs"

    @classmethod
    def of(cls, config: Config) -> Self:
        """The part of a configuration that the plugin needs."""
        return cls(state_dir=config.state_dir, store=config.store, workflows=config.workflows, presets=config.presets)

    def write(self, path: Path) -> None:
        """Write them for `read`, for this user only."""
        plain: dict[str, Any] = {
            "state_dir": str(self.state_dir),
            "workflows": self.workflows and str(self.workflows),
            "presets": self.presets and str(self.presets),
            "store": self.store.model_dump(mode="json", exclude={"secret_key", "webhook_token"}, exclude_none=True),
        }
        if self.store.secret_key is not None:
            plain["store"]["secret_key"] = self.store.secret_key.get_secret_value()
        path.unlink(missing_ok=True)
        with open(path, "w", encoding="utf-8", opener=_private) as file:
            json.dump(plain, file, indent=2)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote."""
        plain = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            state_dir=Path(plain["state_dir"]),
            store=StoreConfig.model_validate(plain["store"]),
            workflows=Path(plain["workflows"]) if plain["workflows"] else None,
            presets=Path(plain["presets"]) if plain["presets"] else None,
        )


def settings_of(datasette: Any) -> Settings | None:
    """The settings of this Datasette; None where it is not ours, so that the plugin keeps out of the way."""
    named = (datasette.plugin_config(NAME) or {}).get(KEY)
    return _read_once(named) if named else None


@lru_cache(maxsize=8)
def _read_once(path: str) -> Settings:
    return Settings.read(Path(path))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
