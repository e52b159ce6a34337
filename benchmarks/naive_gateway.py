"""The gateway as one writes it first, for benchmarks to compare with: JSON by protobuf's own `json_format`.

Run as the gateway is, by the same settings; that nothing is kept and every call goes alone are settings as well:
MERCATO_GATEWAY_CACHE_BYTES=0 MERCATO_TOGETHER=off.
"""

import sys

from google.protobuf import json_format
from google.protobuf.message import Message

from gateway import endpoint
from gateway.__main__ import main
from gateway.transcode import Transcoder


class PlainTranscoder(Transcoder):
    """Writes answers by `json_format`."""

    def answer(self, message: Message) -> bytes:
        """The body of the answer."""
        text: str = json_format.MessageToJson(message, always_print_fields_with_no_presence=True, indent=None)
        return text.encode()


if __name__ == "__main__":
    endpoint.Transcoder = PlainTranscoder  # type: ignore[attr-defined]
    sys.exit(main())
