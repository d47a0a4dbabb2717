"""The ComfyUI side: one client per server. Truth comes from polling; its websocket only brings hints.

`ComfyUIClient` does the talking, `preflight.py` checks a graph against the server's node classes without it,
`results.py` and `refusal.py` read what it says, `transport.py` is where exceptions of the HTTP library end.
"""

from comfygen.comfyui_client.client import ComfyUIClient
from comfygen.comfyui_client.objects import ObjectInfo
from comfygen.comfyui_client.overdue import QueueTimeout, RunTimeout, WorkerDead
from comfygen.comfyui_client.values import (
    OutputRef,
    Patience,
    Progress,
    PromptState,
    QueueState,
    Result,
    Server,
)

__all__ = [
    "ComfyUIClient",
    "ObjectInfo",
    "OutputRef",
    "Patience",
    "Progress",
    "PromptState",
    "QueueState",
    "QueueTimeout",
    "Result",
    "RunTimeout",
    "Server",
    "WorkerDead",
]
