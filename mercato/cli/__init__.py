"""The command `mercato`: the mesh on this machine, and a look into it.

Each command imports what it needs when it runs: `mercato up` on a mesh that is up must not load what services load.
"""

import sys


def main() -> None:
    """Run the command line."""
    from mercato.cli.app import app
    from mercato.config import BadSettings
    from mercato.local.trouble import Trouble

    try:
        app(prog_name="mercato")
    except Trouble as trouble:
        _complain(trouble.sentence, trouble.advice)
    except BadSettings as wrong:
        _complain(f"{wrong}.", "Set it in the environment.")
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has had enough
    sys.exit(1)


def _complain(sentence: str, advice: str) -> None:
    print(f"mercato: {sentence}", file=sys.stderr)
    if advice:
        print(f"         {advice}", file=sys.stderr)
