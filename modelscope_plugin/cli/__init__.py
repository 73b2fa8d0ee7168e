"""The command line: ``modelscope entity ...`` and ``python -m modelscope_plugin ...``.

Modules of this room import torch, transformers and ModelScope only inside the functions that need them, so
that ``--help`` answers at once.
"""
