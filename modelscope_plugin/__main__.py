"""``python -m modelscope_plugin ...``, the same as ``modelscope entity ...``."""

import sys

if __name__ == "__main__":
    from modelscope_plugin.cli.signals import exit_on_signals

    exit_on_signals()
    from modelscope_plugin.cli.main import main

    sys.exit(main())
