from __future__ import annotations

from tests.postgres import postgres
from tests.s3 import s3_server

__all__ = ["postgres", "s3_server"]
