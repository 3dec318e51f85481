"""``python -m graphlandau``."""

import sys

from graphlandau.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
