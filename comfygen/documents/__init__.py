"""YAML (and JSON) files as plain values that remember their lines: strict, bounded, without YAML's surprises.

Only what a reader would guess is read: `true`/`false` are the only booleans, numbers are decimal, times stay text.
Anchors, aliases, merge keys, tags, duplicate keys and numbers in disguise are refused with the line they stand on.
"""

from comfygen.documents.dumper import dump_document
from comfygen.documents.loader import MAX_BYTES, MAX_DEPTH, load_documents, one_document, read_document, read_documents
from comfygen.documents.value import Document, Path
from comfygen.documents.words import did_you_mean, dotted, quoted, shown

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "Document",
    "Path",
    "did_you_mean",
    "dotted",
    "dump_document",
    "load_documents",
    "one_document",
    "quoted",
    "read_document",
    "read_documents",
    "shown",
]
