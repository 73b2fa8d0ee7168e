"""``python -m modelscope_plugin ...``, the same as ``modelscope entity ...``."""

import sys

from modelscope_plugin.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
