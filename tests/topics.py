"""What may befall a topic."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from mercato.errors import Unavailable
from mercato.ids import uuid7
from mercato.kafka import Kafka

LONG = 30.0


def lose(kafka: Kafka, topic: str) -> None:
    """Delete a topic with all that it holds, and return when the broker has forgotten it and leads an empty one."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([topic])[topic].result(LONG)
    deadline = time.monotonic() + LONG
    while not _is_anew(kafka, topic):
        assert time.monotonic() < deadline, f"{topic} never came back"


def _is_anew(kafka: Kafka, topic: str) -> bool:
    kafka.forget()
    kafka.make([topic])
    reader = kafka.consumer(f"look-{uuid7()}")
    try:
        kafka.topic_ids([topic])
        partitions = reader.list_topics(topic, timeout=LONG).topics[topic].partitions
        ends = [reader.get_watermark_offsets(TopicPartition(topic, each), timeout=LONG)[1] for each in partitions]
        return bool(ends) and not any(ends)
    except (Unavailable, KafkaException):
        return False
    finally:
        reader.close()


@contextmanager
def forbidden(kafka: Kafka, topic: str) -> Iterator[None]:
    """Within the block, nobody may write to a topic."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    about = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*")
    rights = {AclOperation.WRITE: AclPermissionType.DENY, AclOperation.ALL: AclPermissionType.ALLOW}
    for future in admin.create_acls([AclBinding(*about, *right) for right in rights.items()]).values():
        future.result(LONG)
    yield
    for removed in admin.delete_acls([AclBindingFilter(*about, *right) for right in rights.items()]).values():
        removed.result(LONG)
