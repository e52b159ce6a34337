"""`mercato audit`: what holds in the shop that runs here, and what does not."""

import json
import time
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table as Shown

from auditor.config import AuditorConfig
from auditor.mesh import SERVICES, Auditor
from auditor.provider import provider_log
from auditor.repairs import Repairs
from auditor.topics import KafkaReader, Topics
from mercato.audit import HUMAN, Finding, Report
from mercato.auth import Signer
from mercato.cli.up import mesh, wide
from mercato.config import Settings, load
from mercato.local.mesh import Mesh
from mercato.local.table import Table
from mercato.rpc.channel import Channels

AGAIN, SETTLED_WITHIN = 1.0, 15.0  # seconds


def audit(*, repair: bool, as_json: bool, watch: bool) -> int:
    """Audit, and have put right what safely can be; the status to end with: 1 where anything does not hold."""
    here = mesh()
    auditor, every = _auditor(here)
    console = wide(Console(highlight=False))
    try:
        while True:
            report, asked = auditor.audit(), dict[Finding, str]()
            if repair and report.findings:
                report, asked = _repaired(here, auditor, report)
            _show(console, report, asked, as_json=as_json)
            if not watch:
                return 0 if report.clean else 1
            time.sleep(every)
    except KeyboardInterrupt:
        return 0
    finally:
        auditor.close()


def _auditor(here: Mesh) -> tuple[Auditor, float]:
    environment = Table(here.home, here.settings).auditor_environment()
    settings, config = load(Settings, environment), load(AuditorConfig, environment)
    provider = provider_log(config.provider, config.provider_key.reveal()) if config.provider else None
    topics = Topics(KafkaReader(settings.kafka_bootstrap, SERVICES), config.window)
    auditor = Auditor(settings.database_url, provider, config.grace, topics=topics)
    return auditor, config.every.total_seconds()


def _repaired(here: Mesh, auditor: Auditor, report: Report) -> tuple[Report, dict[Finding, str]]:
    """Have put right what safely can be, and look again until it is."""
    channels = Channels(Signer.load(here.home.keys, "operator"), here.targets)
    try:
        asked = Repairs(channels).repair(report.findings)
    finally:
        channels.close()
    deadline = time.monotonic() + SETTLED_WITHIN
    while any(each in asked for each in report.findings) and time.monotonic() < deadline:
        time.sleep(AGAIN)
        report = auditor.audit()
    return report, asked


def _show(console: Console, report: Report, asked: Mapping[Finding, str], *, as_json: bool) -> None:
    if as_json:
        repairs = [{"rule": each.rule, "id": each.id, "outcome": outcome} for each, outcome in asked.items()]
        print(json.dumps({**report.public(), "repairs": repairs}, indent=1), flush=True)
        return
    for finding, outcome in asked.items():
        still = "; still there" if finding in report.findings else "; put right"
        console.print(f"repair {finding.repair} of {finding.about} {finding.id}: {outcome}{still}", markup=False)
    if report.findings:
        console.print(_table(report))
    run = [verdict for verdict in report.verdicts if not verdict.missing]
    looked = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in report.audited.items())
    console.print(f"{report.count} findings of {len(run)} rules in {report.seconds:.1f} s ({looked})", markup=False)
    for why in sorted({verdict.missing for verdict in report.verdicts if verdict.missing}):
        passed = [verdict.rule for verdict in report.verdicts if verdict.missing == why]
        console.print(f"passed over {', '.join(passed)}: {why}", markup=False)


def _table(report: Report) -> Shown:
    table = Shown(box=None, pad_edge=False)
    for title in ("rule", "about", "id", "what", "repair"):
        table.add_column(title, overflow="fold")
    for each in report.findings:
        colour = "red" if each.repair == HUMAN else "yellow"
        table.add_row(f"[{colour}]{each.rule}[/]", each.about, each.id, each.detail, each.repair)
    return table
