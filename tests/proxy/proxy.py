"""A LiteLLM proxy and what it needs, each on a free port of loopback; and its API and MCP, as a client sees them."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import httpx

HERE = pathlib.Path(__file__).parent
READY_SECONDS = 240


class Failed(Exception):
    """A check failed, or a server did not do what the story needs."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_listening(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def until(condition, what):
    """Waits for a condition, a bounded time: how long it takes depends on the machine and is no matter."""
    end = time.monotonic() + READY_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"waited {READY_SECONDS} s in vain: {what}")
        time.sleep(0.2)


@contextlib.contextmanager
def running(name, command, is_ready, folder, **environment):
    """Runs a server while the context lasts. Ends it and all that it started by the id of its process group."""
    log = folder / f"{name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder,
                                   start_new_session=True, env={**os.environ, **environment})

    def came_up():
        if process.poll() is not None:
            raise Failed(f"{name} ended with {process.returncode}:\n{log.read_text()[-4000:]}")
        return is_ready()

    try:
        until(came_up, f"{name} does not come up:\n{log.read_text()[-4000:]}")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def mcp_server(folder):
    """Starts the small MCP server; returns its context and its URL."""
    port = free_port()
    command = [sys.executable, HERE / "mcp_server.py", str(port)]
    return running("mcp-server", command, lambda: is_listening(port), folder), f"http://127.0.0.1:{port}/mcp"


def redis(folder):
    """Starts a Redis; returns its context and its port."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    return running("redis", command, lambda: is_listening(port), folder), port


def litellm(folder, config, database_url, master_key, **environment):
    """Starts LiteLLM's proxy; returns its context and the client of its API."""
    port = free_port()
    client = Client(f"http://127.0.0.1:{port}", master_key)
    command = [sys.executable, "-m", "uvicorn", "litellm.proxy.proxy_server:app", "--host", "127.0.0.1",
               "--port", str(port)]
    context = running(
        "litellm", command, client.is_ready, folder, HOME=str(folder), CONFIG_FILE_PATH=str(config),
        DATABASE_URL=database_url, LITELLM_MASTER_KEY=master_key, LITELLM_SALT_KEY="sk-salt", STORE_MODEL_IN_DB="True",
        DISABLE_SCHEMA_UPDATE="true", LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_TELEMETRY="False", **environment)
    return context, client


class Client:
    def __init__(self, url, master_key):
        self.http = httpx.Client(base_url=url, timeout=120)
        self.master_key = master_key

    def is_ready(self):
        with contextlib.suppress(httpx.HTTPError, ValueError):
            return self.http.get("/health/readiness").json().get("db") == "connected"
        return False

    def answer(self, method, path, body=None, **parameters):
        """Calls LiteLLM's API as its administrator; returns the status and the body."""
        answer = self.http.request(method, path, json=body, params=parameters,
                                   headers={"Authorization": f"Bearer {self.master_key}"})
        try:
            return answer.status_code, answer.json()
        except ValueError:
            return answer.status_code, answer.text

    def call(self, method, path, body=None, **parameters):
        """As `answer`, of a call that has to succeed."""
        status, answer = self.answer(method, path, body, **parameters)
        if status >= 300:
            raise Failed(f"{method} {path} {json.dumps(body)}: LiteLLM answers {status}: {answer}")
        return answer

    def tools(self, key):
        """The tools that `tools/list` over /mcp shows a key, as {server: {tool, ...}}."""
        listed = {}
        for tool in self.mcp(key, "tools/list", {})["tools"]:
            server, _, name = tool["name"].partition("-")
            listed.setdefault(server, set()).add(name)
        return listed

    def may_call(self, key, server, tool):
        """Whether `tools/call` over /mcp reaches the tool."""
        try:
            result = self.mcp(key, "tools/call", {"name": f"{server}-{tool}", "arguments": {"text": "needle"}})
        except Refused:
            return False
        texts = [content.get("text", "") for content in result["content"]]
        if result.get("isError"):
            return False
        if not any("needle" in text for text in texts):
            raise Failed(f"{server}-{tool} answers {result}")
        return True

    def mcp(self, key, method, parameters):
        answer = self.http.post(
            "/mcp/", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters},
            headers={"Authorization": f"Bearer {key}", "Accept": "application/json, text/event-stream"})
        if answer.status_code in (401, 403):
            raise Refused(answer.text)
        if answer.status_code != 200:
            raise Failed(f"{method}: LiteLLM answers {answer.status_code}: {answer.text}")
        events = [line.removeprefix("data:") for line in answer.text.splitlines() if line.startswith("data:")]
        for message in map(json.loads, events or [answer.text]):
            if message.get("id") == 1:
                if "error" in message:
                    raise Refused(message["error"])
                return message["result"]
        raise Failed(f"{method}: LiteLLM answers nothing to it: {answer.text}")


class Refused(Exception):
    """LiteLLM refuses what was asked over /mcp."""
