"""``python -m sysid`` is the ``sysid`` command."""

from sysid.cli import main

if __name__ == "__main__":  # not where a spawned worker imports it
    main()
