"""`mercato events`: the public events as Kafka carries them, decoded by their contracts. Reads without a group."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from mercato.cli.contracts import events
from mercato.config import Brokers
from mercato.local.mesh import Mesh
from mercato.local.trouble import Trouble

PATIENCE = 5.0


def show(here: Mesh, service: str, *, follow: bool, last: int) -> None:
    """Print the last events of each partition, and those that come."""
    settings = {**Brokers.client(here.bootstrap), "group.id": "mercato.look", "enable.auto.commit": False}
    consumer = Consumer({**settings, "enable.partition.eof": True, "log_level": 2})
    try:
        _print_all(_read(consumer, _places(consumer, service, last), follow=follow))
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    except KafkaException as error:
        said = error.args[0].str()
        raise Trouble(f"Kafka at {here.bootstrap} does not answer: {said}.", "See mercato status.") from error
    finally:
        consumer.close()


def _places(consumer: Consumer, service: str, last: int) -> list[TopicPartition]:
    known = consumer.list_topics(timeout=PATIENCE).topics
    topics = sorted(name for name in known if name.startswith("mercato.") and not name.endswith(".dlq"))
    wanted = [name for name in topics if not service or name == f"mercato.{service}.v1"]
    if not wanted:
        raise Trouble(f"There is no topic of {service or 'any service'}.", f"There are: {', '.join(topics) or 'none'}.")
    places = [TopicPartition(name, partition) for name in wanted for partition in known[name].partitions]
    for place in places:
        low, high = consumer.get_watermark_offsets(place, timeout=PATIENCE)
        place.offset = max(low, high - last)
    return places


def _read(consumer: Consumer, places: list[TopicPartition], *, follow: bool) -> Iterator[Message]:
    """What lies there in the order of time, then what comes, if one waits for it."""
    consumer.assign(places)
    unread, lying = len(places), list[Message]()
    while unread:
        for message in consumer.consume(500, timeout=0.2):
            if message.error():
                unread -= 1  # the end of a partition
            else:
                lying.append(message)
    yield from sorted(lying, key=lambda message: message.timestamp()[1])
    while follow:
        yield from (message for message in consumer.consume(100, timeout=0.2) if not message.error())


def _print_all(messages: Iterator[Message]) -> None:
    classes = events()
    for message in messages:
        headers = {
            name: _text(value) for name, value in cast("list[tuple[str, bytes | None]]", message.headers() or [])
        }
        time = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
        kind, key = headers.get("ce_type", "?"), _text(message.key())
        try:
            content = json.dumps(MessageToDict(classes[kind].FromString(message.value() or b"")))
        except (KeyError, DecodeError):
            content = f"({len(message.value() or b'')} bytes that no contract here knows)"
        print(f"{time}  {kind.rpartition('.')[2]:<22} {key:<36} {headers.get('version', ''):>4}  {content}", flush=True)


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
