"""Firehose: the compression of its files."""

import gzip
from collections.abc import Callable
from typing import Any

from ministack.services import firehose

from local.aws_behaviour.wrapping import around


def apply() -> None:
    """Corrects Firehose."""
    compress_files()


def compress_files() -> None:
    """AWS compresses files and adds the file extension; ministack writes them uncompressed.

    https://docs.aws.amazon.com/firehose/latest/dev/create-destination.html
    """

    @around(firehose, "_deliver_to_s3")
    def deliver_to_s3(
        original: Callable[..., None], stream: Any, dest: dict[str, Any], data: bytes, keys: Any = None
    ) -> None:
        config = dest["config"]
        if config.get("CompressionFormat") != "GZIP":
            return original(stream, dest, data, keys)
        extension = f"{config.get('FileExtension') or ''}.gz"
        named = {**dest, "config": {**config, "FileExtension": extension}}
        return original(stream, named, gzip.compress(data), keys)
