-- The fastest we know, and whose the rows are, which a repair by hand would have to ask next.
SET jit = off;
SELECT array_agg(server_id)::text AS known FROM "LiteLLM_MCPServerTable"
\gset
WITH stale AS MATERIALIZED (
    SELECT p.object_permission_id, 'mcp_servers' AS "column", p.reference
    FROM (SELECT object_permission_id, unnest(mcp_servers) AS reference
          FROM "LiteLLM_ObjectPermissionTable") AS p
    WHERE (p.reference = ANY (:'known'::text[])) IS NOT TRUE
    UNION ALL
    SELECT p.object_permission_id, 'mcp_tool_permissions', p.reference
    FROM (SELECT object_permission_id, jsonb_object_keys(mcp_tool_permissions) AS reference
          FROM "LiteLLM_ObjectPermissionTable" WHERE mcp_tool_permissions IS NOT NULL) AS p
    WHERE (p.reference = ANY (:'known'::text[])) IS NOT TRUE
)
SELECT stale.*, left(o.token, 8), o.key_alias
FROM stale LEFT JOIN "LiteLLM_VerificationToken" AS o USING (object_permission_id)
ORDER BY stale.object_permission_id, stale."column";
