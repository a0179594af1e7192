"""A small MCP server on loopback: mcp_server.py PORT. Its tools are `search` and `write`."""

import sys

import uvicorn

try:
    from mcp.server.fastmcp import FastMCP as Server
except ImportError:
    # Its name from mcp 2 on.
    from mcp.server.mcpserver import MCPServer as Server

server = Server("small")


@server.tool()
def search(text: str) -> str:
    """Finds a text."""
    return f"found {text}"


@server.tool()
def write(text: str) -> str:
    """Writes a text."""
    return f"wrote {text}"


uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
