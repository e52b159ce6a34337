"""What the auditor's process is made of."""

from auditor.config import AuditorConfig
from auditor.mesh import SERVICES, Auditor
from auditor.provider import provider_log
from auditor.topics import KafkaReader, Topics
from auditor.watch import Watch
from mercato.runtime import Process
from mercato.stack import Stack


def build(config: AuditorConfig, stack: Stack) -> Process:
    """One worker, on the database that its role may only read."""
    provider = provider_log(config.provider, config.provider_key.reveal()) if config.provider else None
    bootstrap = stack.settings.kafka_bootstrap
    topics = Topics(KafkaReader(bootstrap, SERVICES), config.window) if bootstrap else None
    auditor = Auditor(stack.settings.database_url, provider, config.grace, topics=topics)
    return Process(workers=[Watch(auditor, config.every, patience=config.every)])
