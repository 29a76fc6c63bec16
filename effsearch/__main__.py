"""`python -m effsearch`, and the command itself."""

import signal


def main() -> None:
    """Run the command line and exit with its status."""
    # Ctrl-C ends an import at once: as an exception it would turn into errors of any kind.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from effsearch.cli import main as command

    command()


if __name__ == "__main__":
    main()
