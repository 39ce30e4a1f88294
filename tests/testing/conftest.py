"""The S3 server for tests of the ruler."""

from tests.s3 import s3_server

__all__ = ["s3_server"]
