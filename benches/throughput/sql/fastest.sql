-- The fastest we know: the known ids as a constant, which is hashed, and the functions in the
-- select list, which a parallel worker evaluates without storing their rows first.
SET jit = off;
SELECT array_agg(server_id)::text AS known FROM "LiteLLM_MCPServerTable"
\gset
SELECT p.object_permission_id, 'mcp_servers', p.reference
FROM (SELECT object_permission_id, unnest(mcp_servers) AS reference
      FROM "LiteLLM_ObjectPermissionTable") AS p
WHERE (p.reference = ANY (:'known'::text[])) IS NOT TRUE;
SELECT p.object_permission_id, 'mcp_tool_permissions', p.reference
FROM (SELECT object_permission_id, jsonb_object_keys(mcp_tool_permissions) AS reference
      FROM "LiteLLM_ObjectPermissionTable" WHERE mcp_tool_permissions IS NOT NULL) AS p
WHERE (p.reference = ANY (:'known'::text[])) IS NOT TRUE;
