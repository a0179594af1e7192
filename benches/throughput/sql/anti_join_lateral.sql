-- The same, with the functions in FROM.
SELECT p.object_permission_id, 'mcp_servers', r.reference
FROM "LiteLLM_ObjectPermissionTable" AS p, LATERAL unnest(p.mcp_servers) AS r (reference)
WHERE NOT EXISTS (SELECT FROM "LiteLLM_MCPServerTable" AS s WHERE s.server_id = r.reference)
UNION ALL
SELECT p.object_permission_id, 'mcp_tool_permissions', r.reference
FROM "LiteLLM_ObjectPermissionTable" AS p,
     LATERAL jsonb_object_keys(p.mcp_tool_permissions) AS r (reference)
WHERE NOT EXISTS (SELECT FROM "LiteLLM_MCPServerTable" AS s WHERE s.server_id = r.reference);
