-- Reads every row and both columns, and does nothing with them.
SELECT count(mcp_servers), count(mcp_tool_permissions) FROM "LiteLLM_ObjectPermissionTable";
