"""Commands that print figures, each beside a peer measured in the same run: `python -m benchmarks.<name> --help`."""
