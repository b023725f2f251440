"""The root of this checkout, and the stand-ins for tools."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAKES = ROOT / "tests" / "support" / "fakes"
