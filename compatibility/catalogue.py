"""The programs: how each is installed, started and visited, what is changed in it, and why a step does not pass.

Owns: one `Program` for each, with a project and a command like those of its own documentation. Must not: start one.
Fails by: whatever a visit fails by (`visitor.FAULTS`).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from compatibility.visitor import Visitor
from compatibility.wire import BINARY

BEFORE, AFTER = "answer: one", "answer: two"
"""What every program answers, and what it answers after its file was changed."""


@dataclass(frozen=True)
class Program:
    """A program. The first word of a command is found in its environment; `{port}` is the port, in $PORT, too."""

    name: str
    requirements: tuple[str, ...]
    """The first one is the program's own."""
    command: tuple[str, ...]
    visit: Callable[[Visitor], str]
    """Uses the program as its clients do, and returns something that has the answer in it."""
    files: Mapping[str, str] = field(default_factory=dict)
    """What stands in the folder that it is started in, with BEFORE in it."""
    changed: str = "app.py"
    """The file in which BEFORE becomes AFTER."""
    reloads: tuple[str, ...] = ()
    """The command that reloads, which may be the same."""
    said: str = ""
    """A pattern for what it says of a reload when its answers have nothing of the file."""
    first: tuple[str, ...] = ()
    """A command that is run before."""
    environment: Mapping[str, str] = field(default_factory=dict)
    goodbye: tuple[str, str] = ("", "")
    """What it asks after Ctrl-C (a pattern), and what is typed then."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a step does not pass, or is not tried."""

    @property
    def package(self) -> str:
        """The distribution whose version is told, and after which the environments are named."""
        return self.requirements[0].partition("=")[0].partition("[")[0]


def nicegui(visitor: Visitor) -> str:
    page = visitor.get("/")
    visitor.websocket("/_nicegui_ws/socket.io/?EIO=4&transport=websocket").until('"sid"')
    return page


def solara(visitor: Visitor) -> str:
    visitor.get("/")
    channel = visitor.websocket(f"/jupyter/api/kernels/{uuid.uuid4()}/channels?session_id=page")
    for kind, content in (
        ("comm_open", {"target_name": "solara.control", "data": {}}),
        ("comm_msg", {"data": {"method": "run", "path": "/", "args": {"themes": {}, "dark": False}}}),
    ):
        header = {"msg_id": kind, "msg_type": kind, "username": "", "session": "page", "version": "5.3"}
        message = {"channel": "shell", "parent_header": {}, "metadata": {}, "buffers": []}
        channel.send({**message, "header": header, "content": {"comm_id": "control", **content}})
    return channel.until("answer: ")


def litellm(visitor: Visitor) -> str:
    question = {"model": "mock", "messages": [{"role": "user", "content": "?"}]}
    return visitor.post("/v1/chat/completions", question, Authorization="Bearer sk-none")


def mlflow(visitor: Visitor) -> str:
    visitor.get("/")
    visitor.ask("POST", "/api/2.0/mlflow/experiments/create", {"name": BEFORE})
    return visitor.post("/api/2.0/mlflow/experiments/search", {"max_results": 10})


def datasette(visitor: Visitor) -> str:
    visitor.get("/_memory.json?sql=select+1")
    return visitor.get("/")


def gradio(visitor: Visitor) -> str:
    visitor.get("/")
    event = json.loads(visitor.post("/gradio_api/call/repeat", {"data": ["?"]}))["event_id"]
    visitor.events(f"/gradio_api/call/repeat/{event}", "event: complete")
    return visitor.get("/config")  # what the page shows; a queue goes on calling the function that it began with


def marimo(visitor: Visitor) -> str:
    visitor.get("/")
    channel = visitor.websocket(f"/ws?session_id=s_{uuid.uuid4().hex[:6]}")
    return channel.until("answer: ")


def streamlit(visitor: Visitor) -> str:
    visitor.get("/")
    channel = visitor.websocket("/_stcore/stream", "Sec-WebSocket-Protocol: streamlit")
    channel.send(b"\x5a\x00", BINARY)  # a BackMsg: rerun_script, with an empty ClientState
    return channel.until("answer: ")


def prefect(visitor: Visitor) -> str:
    visitor.get("/api/health")
    visitor.websocket("/api/events/in", "Sec-WebSocket-Protocol: prefect")
    visitor.post("/api/flows/", {"name": BEFORE})
    return visitor.post("/api/flows/filter", {})


def mcp(visitor: Visitor) -> str:
    """A session of the Model Context Protocol over streamable HTTP: opened, its stream listened to, a tool called."""
    fields = {"Accept": "application/json, text/event-stream"}

    def call(method: str, parameters: Mapping[str, object], **more: object) -> str:
        return visitor.post("/mcp", {"jsonrpc": "2.0", "method": method, "params": parameters, **more}, **fields)

    client = {"clientInfo": {"name": "visitor", "version": "1"}, "capabilities": {}}
    call("initialize", {"protocolVersion": "2025-06-18", **client}, id=1)
    if session := visitor.fields.get("mcp-session-id"):
        fields["Mcp-Session-Id"] = session
    fields["MCP-Protocol-Version"] = "2025-06-18"
    call("notifications/initialized", {})
    if session:
        visitor.events("/mcp", **fields)
    return call("tools/call", {"name": "answer", "arguments": {"question": "?"}}, id=2)


def litestar(visitor: Visitor) -> str:
    return visitor.get("/")


def bentoml(visitor: Visitor) -> str:
    visitor.get("/readyz")
    return visitor.post("/answer", {"question": "?"})


NO_RELOAD = "it has none"

PROGRAMS = (
    Program(
        "nicegui",
        ("nicegui==3.18.*",),
        ("python", "app.py"),
        nicegui,
        {
            "app.py": """
import os

from nicegui import ui


@ui.page("/")
def index():
    ui.label("answer: one")


ui.run(port=int(os.environ["PORT"]), show=False)
"""
        },
        reloads=("python", "app.py"),
    ),
    Program(
        "solara",
        ("solara==1.64.*",),
        ("solara", "run", "app.py", "--port", "{port}", "--no-open"),
        solara,
        {
            "app.py": """
import solara


@solara.component
def Page():
    solara.Text("answer: one")
"""
        },
        reloads=("solara", "run", "app.py", "--port", "{port}", "--no-open", "--auto-restart"),
    ),
    Program(
        "litellm",
        ("litellm[proxy]==1.105.*",),
        ("litellm", "--config", "config.yaml", "--port", "{port}"),
        litellm,
        {
            "config.yaml": """
model_list:
  - model_name: mock
    litellm_params:
      model: openai/mock
      api_key: none
      mock_response: "answer: one"
"""
        },
        changed="config.yaml",
        reloads=("litellm", "--config", "config.yaml", "--port", "{port}", "--reload"),
        environment={"LITELLM_MASTER_KEY": "sk-none", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"},
    ),
    Program(
        "mlflow",
        ("mlflow==3.17.*",),
        ("mlflow", "server", "--port", "{port}"),
        mlflow,
        {"app.py": "ANSWER = 'answer: one'\n"},
        reloads=("mlflow", "server", "--port", "{port}", "--dev"),
        said=r"Reloading\.\.\.[^$]*Application startup complete",
        environment={"MLFLOW_DISABLE_TELEMETRY": "true"},
    ),
    Program(
        "datasette",
        ("datasette==0.65.*",),
        ("datasette", "--memory", "--metadata", "metadata.json", "--port", "{port}"),
        datasette,
        {"metadata.json": '{"title": "answer: one"}'},
        changed="metadata.json",
        reloads=("datasette", "--memory", "--metadata", "metadata.json", "--port", "{port}", "--reload"),
    ),
    Program(
        "gradio",
        ("gradio==6.31.*",),
        ("python", "app.py"),
        gradio,
        {
            "app.py": """
import os

import gradio as gr


def repeat(text):
    return text


with gr.Blocks() as demo:
    text = gr.Textbox(label="answer: one")
    text.submit(repeat, text, gr.Textbox(), api_name="repeat")

if __name__ == "__main__":
    demo.launch(server_port=int(os.environ["PORT"]))
"""
        },
        reloads=("gradio", "app.py"),
        environment={"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"},
    ),
    *(
        Program(
            f"marimo {what}",
            ("marimo==0.25.*",),
            ("marimo", what, "app.py", "--headless", "--no-token", "--port", "{port}"),
            marimo,
            {
                "app.py": """
import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    mo.md("answer: one")
    return


if __name__ == "__main__":
    app.run()
"""
            },
            reloads=("marimo", what, "app.py", "--headless", "--no-token", "--port", "{port}", "--watch"),
            environment={"MARIMO_SKIP_UPDATE_CHECK": "1"},
            goodbye=(r"quit\? \(y/N\)", "y\n"),
        )
        for what in ("run", "edit")
    ),
    Program(
        "streamlit",
        ("streamlit==1.67.*",),
        ("streamlit", "run", "app.py", "--server.headless", "true", "--server.port", "{port}"),
        streamlit,
        {
            "app.py": """
import streamlit as st

st.write("answer: one")
"""
        },
        reloads=("streamlit", "run", "app.py", "--server.headless", "true", "--server.port", "{port}"),
        environment={"STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false"},
    ),
    Program(
        "prefect",
        ("prefect==3.9.*",),
        ("prefect", "server", "start", "--port", "{port}"),
        prefect,
        first=("prefect", "config", "set", "PREFECT_API_URL=http://127.0.0.1:{port}/api"),
        environment={"PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
        reasons={"reload": NO_RELOAD},
    ),
    Program(
        "mcp",
        ("mcp[cli]==2.3.*",),
        ("python", "app.py"),
        mcp,
        {
            "app.py": """
import os

from mcp.server.mcpserver import MCPServer

mcp = MCPServer("Demo")


@mcp.tool()
def answer(question: str) -> str:
    return "answer: one"


mcp.run(transport="streamable-http", port=int(os.environ["PORT"]))
"""
        },
        reasons={"reload": NO_RELOAD},
    ),
    Program(
        "fastmcp",
        ("fastmcp==4.2.*",),
        ("fastmcp", "run", "app.py", "--transport", "http", "--port", "{port}"),
        mcp,
        {
            "app.py": """
from fastmcp import FastMCP

mcp = FastMCP("Demo")


@mcp.tool
def answer(question: str) -> str:
    return "answer: one"
"""
        },
        reloads=("fastmcp", "run", "app.py", "--transport", "http", "--port", "{port}", "--reload"),
        environment={"FASTMCP_CHECK_FOR_UPDATES": "off"},
    ),
    Program(
        "litestar",
        ("litestar[standard]==2.25.*",),
        ("litestar", "run", "--port", "{port}"),
        litestar,
        {
            "app.py": """
from litestar import Litestar, get


@get("/")
async def index() -> str:
    return "answer: one"


app = Litestar([index])
"""
        },
        reloads=("litestar", "run", "--port", "{port}", "--reload"),
    ),
    Program(
        "bentoml",
        ("bentoml==1.4.*",),
        ("bentoml", "serve", "app:Demo", "--port", "{port}"),
        bentoml,
        {
            "app.py": """
import bentoml


@bentoml.service
class Demo:
    @bentoml.api
    def answer(self, question: str) -> str:
        return "answer: one"
"""
        },
        reloads=("bentoml", "serve", "app:Demo", "--port", "{port}", "--reload"),
        environment={"BENTOML_DO_NOT_TRACK": "True"},
    ),
)
