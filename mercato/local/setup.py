"""The step before every start: keys, roles and tables, topics. What is there already is left alone.

Run by the supervisor (`python -m mercato.local.setup`), so that what it loads does not stay in the supervisor's memory.
`mercato migrate` does the same but for the keys.
"""

from collections.abc import Mapping
from pathlib import Path

from mercato.config import LocalSettings, Settings, load
from mercato.grants import SUFFIX as GRANT_SUFFIX
from mercato.keys import create_keys
from mercato.local.table import SERVICES
from mercato.local.trouble import Trouble

AUDITOR = "auditor"
CALLERS = ("gateway", "operator", AUDITOR, *(service.name for service in SERVICES))
SIGNERS = (*CALLERS, "order" + GRANT_SUFFIX)
"""Whoever has a key."""
SCHEMAS = tuple(service.schema for service in SERVICES)


def main() -> None:
    """Make what is missing."""
    create_keys(load(Settings).keys, SIGNERS)
    bring_up_to_date(load(LocalSettings))


def bring_up_to_date(settings: LocalSettings) -> None:
    """Bring roles, tables and topics up to date with this code."""
    from mercato.kafka import Kafka
    from mercato.migrate import migrate
    from mercato.rights import rights

    known, auditor = passwords(settings.role_passwords), auditor_password(settings.role_passwords)
    for line in migrate(settings.database_url, known, auditor=auditor):
        print(line)
    if settings.kafka_bootstrap:
        kafka = Kafka(settings.kafka_bootstrap)
        kafka.ensure_topics([service.name for service in SERVICES])
        if settings.kafka_bootstrap.access:  # where nobody is asked who they are, there is nobody to give rights to
            kafka.permit(rights())
        kafka.close()


def passwords(folder: Path | None) -> Mapping[str, str]:
    """The password of each schema's role: a file for each in a folder."""
    if folder is None:
        raise Trouble("MERCATO_ROLE_PASSWORDS is not set.", f"Name a folder with the files {', '.join(SCHEMAS)}.")
    try:
        return {schema: (folder / schema).read_text().strip() for schema in SCHEMAS}
    except OSError as error:
        raise Trouble(f"{error.filename} cannot be read.", "It holds the password of the schema's role.") from error


def auditor_password(folder: Path | None) -> str:
    """The password of the auditor's role; empty where nobody is to audit from outside."""
    file = folder / AUDITOR if folder else None
    return file.read_text().strip() if file and file.exists() else ""


if __name__ == "__main__":
    main()
