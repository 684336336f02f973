"""No data becomes code.

Nothing in the packages unpickles, evaluates, or runs a command through a shell.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(path for package in ("models", "streams", "tools") for path in (ROOT / package).rglob("*.py"))

#: Modules whose loaders run what they read, or read what only a program should have written.
MODULES = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle", "yaml", "imp", "runpy", "code"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "torch.load",
    "torch.save",
    "torch.hub.load",
    "torch.jit.load",
    "tempfile.mktemp",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.full_load_all",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
}
#: What a file may import all the same, and why that runs no data.
ALLOWED_IMPORTS = {
    "tools/project/asyncapi.py": {
        "imports yaml": "the contract is YAML of our own, and yaml.safe_load builds plain data"
    },
    "tools/project/watching/alerts.py": {"imports yaml": "it writes YAML and reads none"},
}
#: Keywords that must hold exactly this value wherever they occur.
KEYWORDS: dict[str, object] = {
    "shell": False,
    "allow_pickle": False,
    "trust_remote_code": False,
    "use_safetensors": True,
}
#: Names imported by a computed name: the file, and why its name cannot come from data.
COMPUTED_IMPORTS = {
    "models/text/clean.py": "the segmenter is one of a closed list of settings",
    "models/text/encoder_use.py": "a constant",
    "streams/settings/oauth.py": "the operator names the callable in a setting, as Kafka's own clients take a class name",
    "tools/main.py": "the command is one of a closed list",
    "tools/bench/subject.py": "the subject is one of the parser's choices",
    "tools/drills/kind.py": "the kind is one of the parser's choices",
}


def faults(tree: ast.AST) -> Iterator[str]:
    """Yield what a module does that it must not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CALLS:
                yield f"calls {called}"
            for keyword in node.keywords:
                yield from _wrong_value(str(keyword.arg), keyword.value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant):
                    yield from _wrong_value(str(key.value), value)


def _wrong_value(name: str, value: ast.expr) -> Iterator[str]:
    if name in KEYWORDS and not (isinstance(value, ast.Constant) and value.value is KEYWORDS[name]):
        yield f"sets {name}={ast.unparse(value)}"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from yaml import load",
        "eval(x)",
        "torch.load(path)",
        "yaml.load(text, Loader=yaml.Loader)",
        "np.load(path, allow_pickle=True)",
        "run(x, shell=flag)",
        "options = {'trust_remote_code': True}",
    ],
)
def test_the_search_finds(source: str) -> None:
    """A search that finds nothing proves nothing."""
    assert list(faults(ast.parse(source)))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_nothing_executes_data(path: Path) -> None:
    """Artifacts, records, settings and commands have formats that hold data only.

    Artifacts are safetensors and JSON, records msgpack and JSON, settings TOML, commands lists of
    words.
    """
    allowed = ALLOWED_IMPORTS.get(str(path.relative_to(ROOT)), {})
    assert [fault for fault in faults(ast.parse(path.read_text("utf-8"))) if fault not in allowed] == []


def test_modules_are_imported_by_computed_names_only_where_known() -> None:
    """Each such place says why the name is not data."""
    found = {
        str(path.relative_to(ROOT))
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("import_module")
        and not isinstance(node.args[0], ast.Constant)
    }
    assert found == set(COMPUTED_IMPORTS)


def test_language_models_are_loaded_from_safetensors_without_their_code() -> None:
    """The two options must be there, not only have the right value where they are."""
    text = (ROOT / "models" / "text" / "huggingface.py").read_text("utf-8")
    assert text.count('"trust_remote_code": False') == 1 and text.count("use_safetensors=True") == 1
    loaders = [path.name for path in FILES if ".from_pretrained(" in path.read_text("utf-8")]
    assert loaders == ["huggingface.py"]
