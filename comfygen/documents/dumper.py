"""Values as YAML that our own loader reads back as they were."""

from __future__ import annotations

import yaml

from comfygen.documents.plain import read_plain


class _Dumper(yaml.CSafeDumper):
    """PyYAML's dumper with our idea of what must be quoted, and without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text_node(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    """A text: quoted wherever our loader would read it as something else, a block if it has several lines."""
    plain = read_plain(text) == (text, None) and not text.startswith("<<")
    style = None if plain else '"'
    if (
        "\n" in text
        and text.isascii()
        and not any(line.startswith(" ") or line.endswith(" ") for line in text.split("\n"))
    ):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def dump_document(value: object) -> str:
    """A value of mappings, lists, texts and numbers as YAML that `load_documents` reads back equal."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text
