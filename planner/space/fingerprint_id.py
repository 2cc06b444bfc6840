"""A short name for a fingerprint, stored with each measurement made under it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

__all__ = ["environment_id"]


def environment_id(fingerprint: Mapping[str, str]) -> str:
    """Twelve hex digits; equal for equal fingerprints, whatever the order of their keys."""
    text = json.dumps(sorted(fingerprint.items()), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:12]
