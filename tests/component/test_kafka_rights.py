"""A Kafka at which everybody signs in: each process writes and reads what the list of rights says, and nothing else."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from mercato.config import BadSettings, Brokers, LocalSettings, Settings, load
from mercato.errors import Unavailable
from mercato.kafka import Kafka
from mercato.local import kafka as local
from mercato.local.server import free_port
from mercato.rights import FOLLOWS, SERVICES, rights
from mercato.topic import dead_letters, topic

TOPICS = [topic(each) for each in SERVICES]
REFUSED = KafkaError.TOPIC_AUTHORIZATION_FAILED
LONG = 30.0


def told(name: str, address: str, password: str = "", **further: str) -> Brokers:
    """The address as a process of that name has it from its environment."""
    signing_in = {"MERCATO_KAFKA_SECURITY": "sasl_plaintext", "MERCATO_KAFKA_MECHANISM": "PLAIN"}
    named = {"MERCATO_NAME": name, "MERCATO_KAFKA_BOOTSTRAP": address}
    secret = {"MERCATO_KAFKA_PASSWORD": password or f"the {name}'s"}
    return load(Settings, {**named, **signing_in, **secret, **further}).kafka_bootstrap


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of its own, at which the operator has given everybody their rights."""
    accounts = {name: f"the {name}'s" for name in (*FOLLOWS, local.OPERATOR)}
    server = local.Kafka(tmp_path_factory.mktemp("kafka"), free_port(), accounts=accounts)
    server.prepare()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(server.command(), stdout=quiet, stderr=quiet) as process:
        try:
            until(server.ready)
            operator = Kafka(told(local.OPERATOR, server.url))
            operator.ensure_topics(SERVICES)
            operator.permit(rights())
            until(lambda: not set(written(told("order", server.url), [topic("order")]).values()) & {REFUSED})
            yield server.url
        finally:
            process.kill()


def until(look: object) -> None:
    """Wait for something that comes true by itself."""
    assert callable(look)
    deadline, pause = time.monotonic() + LONG, threading.Event()
    while not look():
        assert time.monotonic() < deadline
        pause.wait(0.05)


def written(brokers: Brokers, topics: list[str]) -> Mapping[str, int]:
    """What came of writing to each topic."""
    outcomes, producer = dict[str, int](), Producer({**Brokers.client(brokers), "log_level": 0})

    def note(error: KafkaError | None, message: Message) -> None:
        outcomes[str(message.topic())] = error.code() if error else 0

    for name in topics:
        producer.produce(name, b"x", partition=0, on_delivery=note)
    producer.flush(LONG)
    return outcomes


def read(brokers: Brokers, who: str, topics: Sequence[str]) -> Mapping[str, int]:
    """What comes of reading topics that one knows of, all of which have a record in their first partition."""
    settings = {
        "group.id": f"{who}.tests",
        "auto.offset.reset": "earliest",
        "log_level": 0,
        "enable.auto.commit": False,
    }
    consumer, outcomes = Consumer({**Brokers.client(brokers), **settings}), dict[str, int]()
    consumer.assign([TopicPartition(name, 0, 0) for name in topics])
    deadline = time.monotonic() + LONG
    while len(outcomes) < len(topics):
        assert time.monotonic() < deadline, outcomes
        if message := consumer.poll(0.5):
            error = message.error()
            outcomes[str(message.topic())] = error.code() if error else 0
    consumer.close()
    return outcomes


@pytest.mark.parametrize("who", FOLLOWS)
def test_everybody_writes_what_is_theirs_and_nothing_of_another(address: str, who: str) -> None:
    outcomes = written(told(who, address), [*TOPICS, *map(dead_letters, TOPICS)])
    own = {topic(who), *(dead_letters(topic(each)) for each in FOLLOWS[who])} if who in SERVICES else set()
    assert outcomes == {name: 0 if name in own else REFUSED for name in (*TOPICS, *map(dead_letters, TOPICS))}


@pytest.mark.parametrize("who", SERVICES)
def test_a_relay_s_client_and_a_reader_s_find_all_that_they_need(address: str, who: str) -> None:
    kafka, topics = Kafka(told(who, address)), [topic(each) for each in (who, *FOLLOWS[who])]
    kafka.make([*topics, *(dead_letters(topic(each)) for each in FOLLOWS[who])])
    assert kafka.topic_ids(topics).keys() == {*topics}
    assert {at[0] for at in kafka.ends(topics)} == {*topics}
    kafka.warm_up()
    producer = kafka.producer()
    producer.produce(topic(who), b"x")
    assert not producer.flush(LONG)


@pytest.mark.parametrize("who", FOLLOWS)
def test_everybody_reads_what_they_follow_and_nothing_else(address: str, who: str) -> None:
    assert set(written(told(local.OPERATOR, address), TOPICS).values()) == {0}
    followed, own = [topic(each) for each in FOLLOWS[who]], [topic(who)] if who in SERVICES else []
    outcomes = read(told(who, address), who, [*followed, *own])
    assert outcomes == {**dict.fromkeys(followed, 0), **dict.fromkeys(own, REFUSED)}
    for name in {*TOPICS} - {*followed, *own}:  # of which they cannot even know
        with pytest.raises(Unavailable):
            Kafka(told(who, address)).topic_ids([name])


@pytest.mark.parametrize("who", ["product", "order"])
def test_everybody_joins_groups_of_their_own_alone(address: str, who: str) -> None:
    written(told(local.OPERATOR, address), TOPICS)
    for group, expected in ((f"{who}.things", None), ("somebody.things", KafkaError.GROUP_AUTHORIZATION_FAILED)):
        settings = {"group.id": group, "auto.offset.reset": "earliest", "log_level": 0, "enable.auto.commit": False}
        with closing(Consumer({**Brokers.client(told(who, address)), **settings})) as consumer:
            consumer.subscribe([topic(each) for each in FOLLOWS[who]])
            message = consumer.poll(LONG)
        assert message is not None, group
        error = message.error()
        assert (error.code() if error else None) == expected, group


def test_without_an_account_or_with_a_wrong_password_nothing_is_told(address: str) -> None:
    for brokers in (Brokers(address), told("order", address, "another's")):
        with pytest.raises(Unavailable):
            Kafka(brokers, patience=1.0).make(["mercato.anything"])


def test_nobody_but_the_operator_gives_rights(address: str) -> None:
    with pytest.raises(Unavailable):
        Kafka(told("order", address)).permit(rights())


PRODUCTION = {"MERCATO_NAME": "order", "MERCATO_ENVIRONMENT": "production", "MERCATO_KAFKA_BOOTSTRAP": "kafka:9092"}


@pytest.mark.parametrize("kind", [Settings, LocalSettings])
def test_production_does_not_speak_to_a_kafka_that_asks_nobody_unless_told_so(kind: type[Settings]) -> None:
    with pytest.raises(BadSettings, match="MERCATO_KAFKA_SECURITY is not set"):
        load(kind, PRODUCTION)
    assert load(kind, {**PRODUCTION, "MERCATO_KAFKA_SECURITY": "plaintext"}).kafka_bootstrap == "kafka:9092"
    assert not load(kind, {"MERCATO_NAME": "order", "MERCATO_KAFKA_BOOTSTRAP": "kafka:9092"}).kafka_bootstrap.access


def test_what_a_client_is_told_of_a_cluster() -> None:
    further = {"MERCATO_KAFKA_SECURITY": "sasl_ssl", "MERCATO_KAFKA_PASSWORD": "x", "MERCATO_KAFKA_CA": "/ca"}
    brokers = load(Settings, {**PRODUCTION, **further}).kafka_bootstrap
    assert Brokers.client(brokers) == {
        "bootstrap.servers": "kafka:9092",
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "order",
        "sasl.password": "x",
        "ssl.ca.location": "/ca",
    }
    assert "x" not in repr(brokers).replace("kafka", "")
    for wrong, why in (({"MERCATO_KAFKA_SECURITY": "tls"}, "one of"), ({"MERCATO_KAFKA_PASSWORD": ""}, "PASSWORD")):
        with pytest.raises(BadSettings, match=why):
            load(Settings, {**PRODUCTION, **further, **wrong})
