"""Hand-made texts: broken YAML, odd values, names that lead elsewhere, and files that are no requests at all."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from comfygen.resources import built_in

BASE = "workflow: flux-dev\nprompt: a mountain lake\nwidth: 64\nheight: 64\nsteps: 1\nseed: 5\n"
ESCAPES = (
    "../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\windows\\system32\\config",
    "%2e%2e/%2e%2e/etc/passwd",
    "....//....//etc/passwd",
    "~/.ssh/id_rsa",
    "file:///etc/passwd",
    "\\\\server\\share\\x.png",
    "a/../../b.png",
    "x\0.png",
    ".comfygen/claims/x.json",
    "requests/again.yaml",
    "done/x.result.json",
    "\x1b[31mred\x1b[0m\x07.png",
    "\u202egnp.exe",
    "é" * 300,
    "$(id)`id`${HOME}{{7*7}}%s%n",
    "{0.__class__.__mro__}",
    "-rf",
    " ",
    "",
    "CON",
    "a\nb: injected",
)
NAMED = ("workflow", "output", "input_image", "preset", "lora_preset", "project", "id", "sampler", "negative_prompt")
ADDRESSES = (
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:22/",
    "http://localhost/x.png",
    "http://[::1]/x.png",
    "http://2130706433/x.png",
    "http://0x7f000001/x.png",
    "http://0177.0.0.1/x.png",
    "http://10.0.0.1/x.png",
    "https://user:secret@192.168.1.1/x.png",
    "ftp://127.0.0.1/x.png",
    "file:///etc/shadow",
    "gopher://127.0.0.1:70/_x",
    "data:image/png;base64,iVBORw0KGgo=",
    "HTTP://EXAMPLE.INVALID/x.png",
    " http://127.0.0.1/x.png",
    "//127.0.0.1/x.png",
    "dict://127.0.0.1:11211/stat",
)
NUMBERS = (
    "0",
    "-1",
    "-0",
    "1e999",
    ".inf",
    "-.inf",
    ".nan",
    "0x10",
    "0o17",
    "017",
    "1_000",
    "1e3",
    "12:30",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "9" * 5000,
    "true",
    "null",
    '"20"',
    "20 steps",
    "[20]",
    "{a: 1}",
    "2026-02-30",
    "1.0000000000000000001",
    "٣",
)
COUNTED = ("seed", "steps", "cfg", "width", "denoise", "priority", "timeout", "resize")
BROKEN = (
    "",
    "\n\n\n",
    "# nothing but words\n",
    "---\n---\n---\n",
    "...\n",
    "null\n",
    "just a sentence\n",
    "42\n",
    "[]\n",
    "{}\n",
    "- a\n- b\n",
    "a: &a [x, x]\nb: &b [*a, *a]\nprompt: *b\n",
    "\n".join([f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['x'] * 9)}]" for n in range(10)]),
    "a: &a [*a]\n",
    "<<: {prompt: x}\n",
    "prompt: !!python/object/apply:os.system ['true']\n",
    "prompt: !!binary aGVsbG8=\n",
    "!!set {a, b}\n",
    "%YAML 9.9\n---\na: 1\n",
    "%TAG ! tag:x,2000:\n---\n!a b\n",
    "[" * 100_000,
    "{a: " * 5000,
    "- " * 5000,
    "a:\n" + "".join(" " * n + "b:\n" for n in range(1, 200)),
    "prompt: [unclosed\n",
    'prompt: "unclosed\n',
    "prompt: 'it's'\n",
    "\tprompt: x\n",
    "prompt:\n\t- x\n",
    "prompt: |\n" + "x" * 200_000 + "\n",
    "a" * 200_000 + ": 1\n",
    "? [a, b]\n: 1\n",
    "? {a: b}\n: 1\n",
    "1: 2\ntrue: 3\nnull: 4\n",
    "prompt: @x\n",
    "prompt: `x`\n",
    'prompt: "\\ud800"\n',
    'prompt: "\\uDFFF\\uD800"\n',
    'prompt: "\\x00\\x1b[2J\\x07"\n',
    "prompt: {{ subject }}\n",
    "x: y\n" * 50_000,
    "---\n" + "---\n".join([BASE] * 1200),
    "workflow: flux-dev\nprompt: x\ncount: 1000000\n",
    "workflow: flux-dev\nprompt: x\nmatrix: {cfg: ["
    + ",".join(map(str, range(1, 90)))
    + "], steps: ["
    + ",".join(map(str, range(1, 90)))
    + "]}\n",
    "workflow: flux-dev\nprompt: x\nmatrix: {matrix: [1], seed: []}\n",
    "workflow: flux-dev\nprompt: x\nmatrix: 7\n",
    "workflow: flux-dev\nprompt: x\nloras: [" + ", ".join(["style_a.safetensors"] * 3000) + "]\n",
    "workflow: flux-dev\nprompt: x\nloras: {style_a.safetensors: 1}\n",
    "workflow: flux-dev\nprompt: x\nloras: [[], {}, 7, null, ':', 'x:y:z', {name: x, strength: 1e9}]\n",
    "workflow: flux-dev\nprompt: x\ntags: [" + ", ".join(["t"] * 5000) + "]\n",
    "workflow: flux-dev\nprompt: ''\n",
    "workflow: flux-dev\nprompt: '   '\n",
    "workflow: [flux-dev]\nprompt: {a: b}\n",
    "prompt: only\n",
    "__class__: x\n__init__: y\nworkflow: flux-dev\nprompt: x\n",
    "cancel: ../../etc/passwd\n",
    "cancel: [a, b]\n",
    "cancel:\n",
    "cancel: 01m8g1w1739tm3pkbrqe81pb58\nprompt: and more\n",
    "not_before: yesterday\nworkflow: flux-dev\nprompt: x\n",
    "not_before: 0000-00-00T00:00:00Z\nworkflow: flux-dev\nprompt: x\n",
    "timeout: forever\nworkflow: flux-dev\nprompt: x\n",
    "<html><body>404 Not Found</body></html>\n",
    "#!/bin/sh\nrm -rf /\n",
    "id,prompt,seed\n1,a lake,2\n",
    "Traceback (most recent call last):\n  File x\nValueError: y\n",
    "{'prompt': 'single quotes', 'workflow': 'flux-dev', 'seed': None}\n",
    '{"prompt": "x", "prompt": "y", "workflow": "flux-dev"}\n',
    '{"prompt": NaN, "workflow": Infinity}\n',
    '{"prompt": "x", "workflow": "flux-dev",}\n',
    '{"a":' * 3000 + "1" + "}" * 3000,
)
RAW = (
    b"\xef\xbb\xbfprompt: x\n",
    "workflow: flux-dev\nprompt: Küste\n".encode("utf-16"),
    "workflow: flux-dev\nprompt: Küste\n".encode("utf-16-be"),
    "workflow: flux-dev\nprompt: Küste\n".encode("utf-32"),
    "workflow: flux-dev\nprompt: Küste\n".encode("latin-1"),
    b"workflow: flux-dev\nprompt: \xff\xfe\xfd\n",
    b"workflow: flux-dev\nprompt: \xed\xa0\x80\n",
    b"workflow: flux-dev\nprompt: \xc0\xaf\n",
    b"workflow: flux-dev\rprompt: x\r",
    b"workflow: flux-dev\nprompt: a\0b\n",
    b"\0" * 4096,
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\x7fELF\x02\x01\x01" + bytes(64),
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + bytes(range(200)),
    b"PK\x03\x04" + bytes(64),
    b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
    b"#" * (256 * 1024),
    b"#" * (256 * 1024 + 1),
    BASE.encode() + b"#" * (256 * 1024 - len(BASE)),
)


def texts() -> Iterator[bytes]:
    """All of them."""
    yield from RAW
    yield from (text.encode("utf-8", "surrogatepass") for text in BROKEN)
    for field, value in itertools.product(NAMED, ESCAPES):
        yield _with(field, json.dumps(value))
    yield from (_with("loras", json.dumps([f"{value}:0.5"])) for value in ESCAPES)
    yield from (_with("tags", json.dumps([value, "ok"])) for value in ESCAPES)
    yield from (_with("input_image", json.dumps(address), "sd15-img2img") for address in (*ADDRESSES, *ESCAPES))
    yield from (_with(field, number) for field, number in itertools.product(COUNTED, NUMBERS))
    yield from (_with("prompt", json.dumps(value)) for value in ESCAPES)
    yield from _strangers()


def _with(field: str, value: str, workflow: str = "flux-dev") -> bytes:
    """The base with one value replaced or added."""
    lines = [line for line in BASE.splitlines() if not line.startswith((f"{field}:", "workflow:"))]
    named = [] if field == "workflow" else [f"workflow: {workflow}"]
    return "\n".join([*named, *lines, f"{field}: {value}", ""]).encode()


def _strangers() -> Iterator[bytes]:
    """JSON files that belong elsewhere: graphs, an editor's workflow, a history, a sidecar, a settings file."""
    yield from (path.read_bytes() for path in sorted(built_in("workflows").iterdir()) if path.name.endswith(".json"))
    yield json.dumps({"nodes": [{"id": 1, "type": "KSampler"}], "links": [], "version": 0.4}).encode()
    yield json.dumps({"a1b2": {"prompt": [1, "a1b2", {}, {}, ["9"]], "outputs": {}, "status": {}}}).encode()
    yield json.dumps(
        {"timestamp": "2026-01-01T00:00:00Z", "prompt": "a lake", "workflow": "x.json", "seed": 1}
    ).encode()
    yield b"state_dir: ./state\ninbox:\n  - folder: ./requests\n"
    yield b"presets:\n  mine: {steps: 3}\n"
