-- The fastest we know, and whose the rows are, which a repair by hand would have to ask next.
SET jit = off;
SET parallel_tuple_cost = 10;
SELECT array_agg(server_id)::text AS known FROM "LiteLLM_MCPServerTable"
\gset
CREATE TEMPORARY TABLE stale AS
SELECT s.object_permission_id, s.server, s.tool
FROM (SELECT object_permission_id, unnest(mcp_servers) AS server,
             jsonb_object_keys(mcp_tool_permissions) AS tool
      FROM "LiteLLM_ObjectPermissionTable") AS s
WHERE CASE WHEN s.server IS NOT NULL AND (s.server = ANY (:'known'::text[])) IS NOT TRUE
                OR s.tool IS NOT NULL AND (s.tool = ANY (:'known'::text[])) IS NOT TRUE
           THEN 1 ELSE 0 END = 1
      AND CASE WHEN s.server IS NULL AND s.object_permission_id IS NULL THEN 1 ELSE 0 END = 0;
ANALYZE stale;
SET parallel_tuple_cost = 0.1;
SELECT stale.*, left(o.token, 8), o.key_alias
FROM stale LEFT JOIN "LiteLLM_VerificationToken" AS o USING (object_permission_id)
ORDER BY stale.object_permission_id;
