"""What all tests need."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE", str(tmp_path / "test.sqlite3"))
    monkeypatch.setenv("PAYMENT_SECRET", "example")
