"""``python -m sysid`` is the ``sysid`` command."""

from sysid.cli import main

main()
