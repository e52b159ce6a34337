"""What the auditor's process is made of."""

from auditor.config import AuditorConfig
from auditor.mesh import Auditor
from auditor.provider import provider_log
from auditor.watch import Watch
from mercato.runtime import Process
from mercato.stack import Stack


def build(config: AuditorConfig, stack: Stack) -> Process:
    """One worker, on the database that its role may only read."""
    provider = provider_log(config.provider, config.provider_key.reveal()) if config.provider else None
    auditor = Auditor(stack.settings.database_url, provider, config.grace)
    return Process(workers=[Watch(auditor, config.every)])
