"""The scan as an operator would script it: every row to the client, a set to look in."""

import sys

import psycopg

with psycopg.connect(sys.argv[1]) as connection:
    with connection.cursor() as cursor:
        cursor.execute('SELECT server_id, server_name, alias FROM "LiteLLM_MCPServerTable"')
        known = {name for row in cursor for name in row if name}
    with connection.cursor("permissions") as cursor:
        cursor.itersize = 10_000
        cursor.execute(
            "SELECT object_permission_id, mcp_servers, mcp_tool_permissions"
            ' FROM "LiteLLM_ObjectPermissionTable"'
        )
        for key, servers, tools in cursor:
            for reference in servers or ():
                if reference not in known:
                    print(key, "mcp_servers", reference)
            for reference in tools or ():
                if reference not in known:
                    print(key, "mcp_tool_permissions", reference)
