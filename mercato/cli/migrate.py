"""`mercato migrate`: roles, tables and topics, as the Job of a release brings them up to date."""

from mercato.cli.up import mesh
from mercato.config import LocalSettings, load
from mercato.local.setup import bring_up_to_date


def run() -> None:
    """Those that the environment names, or else those of the mesh on this machine."""
    settings = load(LocalSettings)
    bring_up_to_date(settings if settings.database_url else load(LocalSettings, mesh().setup_environment))
