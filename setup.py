"""Packaging of modelscope_plugin; metadata that tools need stands here, tool settings in pyproject.toml."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
# What stands at the top of the repository and is read by the installed package.
TOP_FILES = ("configuration.json", "LICENSE")
AHO_CORASICK = "ahocorasick_rs>=1.0.1"
LANGCHAIN = "langchain-community>=0.4.2"
MATPLOTLIB = "matplotlib>=3.9"
# The exporter that torch has needs onnxscript.
ONNX = ["onnx>=1.18", "onnxruntime>=1.23", "onnxscript>=0.7"]
SENTENCE_TRANSFORMERS = "sentence-transformers>=5.1.2"
# ModelScope's server calls a method of FastAPI that went with starlette 1.
SERVER = ["modelscope[server]>=1.40.2", "starlette<1"]
TENSORBOARD = "tensorboard>=2.20"


class BuildWithTopFiles(build_py):
    """Puts the files at the top of the repository into the package."""

    def run(self) -> None:
        """Build, then copy the files, except for an editable install, which sees the repository."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "modelscope_plugin"
            target.mkdir(parents=True, exist_ok=True)
            for name in TOP_FILES:
                shutil.copyfile(HERE / name, target / name)


def version() -> str:
    """The version, which stands in one place."""
    source = (HERE / "modelscope_plugin" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert found
    return found.group(1)


def description() -> str:
    """The README without the model hub's metadata in front of it."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    return re.sub(r"\A---\n.*?\n---\n+", "", text, flags=re.DOTALL)


setup(
    name="modelscope_plugin",
    version=version(),
    description="Entity retrieval for ModelScope: link mentions in Chinese text to your own knowledge base",
    long_description=description(),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["modelscope_plugin", "modelscope_plugin.*"]),
    package_data={
        "modelscope_plugin": [
            "py.typed",
            "data/sample/*.jsonl",
            "data/sample/LICENSE",
            "publishing/card/templates/*.jinja",
            "publishing/card/templates/snippets/*.jinja",
        ]
    },
    cmdclass={"build_py": BuildWithTopFiles},
    install_requires=[
        "modelscope[framework]>=1.40.2",
        "modelscope-hub>=0.5.1",
        "torch>=2.6",
        "transformers>=4.57.1",
        "faiss-cpu>=1.10",
        "numpy>=2.0.2",
        "scipy>=1.15",
        "safetensors>=0.4.3",
        "filelock>=3.30",
        "opencc>=1.4",
        "tqdm>=4.66.3",
        "pyyaml>=6",
        "jinja2>=3.1",
        "huggingface_hub>=0.34",
        "tabulate[widechars]>=0.9",
    ],
    extras_require={
        "detect": [AHO_CORASICK],
        "onnx": ONNX,
        "plot": [MATPLOTLIB],
        "publish": [SENTENCE_TRANSFORMERS],
        "server": SERVER,
        "tensorboard": [TENSORBOARD],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.103",
            "markdown-it-py>=3",
            AHO_CORASICK,
            LANGCHAIN,
            MATPLOTLIB,
            *ONNX,
            SENTENCE_TRANSFORMERS,
            TENSORBOARD,
            *SERVER,
        ],
        "dev": ["build", "ruff", "mypy", "types-PyYAML", "types-tqdm", "types-tabulate"],
    },
    entry_points={"modelscope_hub.cli_plugins": ["entity = modelscope_plugin.cli.plugin:EntityCommand"]},
    classifiers=[
        "Natural Language :: Chinese (Simplified)",
        "Programming Language :: Python :: 3",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
)
