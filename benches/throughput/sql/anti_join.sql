-- What most would write: every reference, and no server with that id.
SELECT p.object_permission_id, 'mcp_servers', p.reference
FROM (SELECT object_permission_id, unnest(mcp_servers) AS reference
      FROM "LiteLLM_ObjectPermissionTable") AS p
WHERE NOT EXISTS (SELECT FROM "LiteLLM_MCPServerTable" AS s WHERE s.server_id = p.reference)
UNION ALL
SELECT p.object_permission_id, 'mcp_tool_permissions', p.reference
FROM (SELECT object_permission_id, jsonb_object_keys(mcp_tool_permissions) AS reference
      FROM "LiteLLM_ObjectPermissionTable") AS p
WHERE NOT EXISTS (SELECT FROM "LiteLLM_MCPServerTable" AS s WHERE s.server_id = p.reference);
