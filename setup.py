"""Packaging of modelscope_plugin; metadata that tools need stands here, tool settings in pyproject.toml."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
CONFIGURATION = "configuration.json"
AHO_CORASICK = "ahocorasick_rs>=1.0.1"
MATPLOTLIB = "matplotlib>=3.9"
SENTENCE_TRANSFORMERS = "sentence-transformers>=5.1.2"
TENSORBOARD = "tensorboard>=2.20"


class BuildWithConfiguration(build_py):
    """Puts configuration.json, which stands at the top of the repository, into the package."""

    def run(self) -> None:
        """Build, then copy the file, except for an editable install, which sees the repository."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "modelscope_plugin" / CONFIGURATION
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(HERE / CONFIGURATION, target)


def version() -> str:
    """The version, which stands in one place."""
    source = (HERE / "modelscope_plugin" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert found
    return found.group(1)


setup(
    name="modelscope_plugin",
    version=version(),
    description="Entity retrieval for ModelScope: link mentions in Chinese text to your own knowledge base",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["modelscope_plugin", "modelscope_plugin.*"]),
    package_data={"modelscope_plugin": ["py.typed", "data/sample/*.jsonl", "data/sample/LICENSE"]},
    cmdclass={"build_py": BuildWithConfiguration},
    install_requires=[
        "modelscope[framework]>=1.40.2",
        "torch>=2.6",
        "transformers>=4.57.1",
        "faiss-cpu>=1.10",
        "numpy>=2.0.2",
        "scipy>=1.15",
        "safetensors>=0.4.3",
        "opencc>=1.4",
        "tqdm>=4.66.3",
        "tabulate[widechars]>=0.9",
    ],
    extras_require={
        "detect": [AHO_CORASICK],
        "plot": [MATPLOTLIB],
        "tensorboard": [TENSORBOARD],
        "test": ["pytest>=8", "hypothesis>=6.100", AHO_CORASICK, MATPLOTLIB, SENTENCE_TRANSFORMERS, TENSORBOARD],
        "dev": ["ruff", "mypy", "types-tqdm", "types-tabulate"],
    },
    entry_points={"modelscope_hub.cli_plugins": ["entity = modelscope_plugin.cli.plugin:EntityCommand"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Natural Language :: Chinese (Simplified)",
        "Programming Language :: Python :: 3",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
)
