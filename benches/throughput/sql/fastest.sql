-- The fastest we know: the known ids as a constant, which is hashed; both functions in the select
-- list, which a parallel worker evaluates without storing their rows first; and a filter that the
-- planner takes for selective, so that it is the workers that filter.
SET jit = off;
SET parallel_tuple_cost = 10;
SELECT array_agg(server_id)::text AS known FROM "LiteLLM_MCPServerTable"
\gset
SELECT s.object_permission_id, s.server, s.tool
FROM (SELECT object_permission_id, unnest(mcp_servers) AS server,
             jsonb_object_keys(mcp_tool_permissions) AS tool
      FROM "LiteLLM_ObjectPermissionTable") AS s
WHERE CASE WHEN s.server IS NOT NULL AND (s.server = ANY (:'known'::text[])) IS NOT TRUE
                OR s.tool IS NOT NULL AND (s.tool = ANY (:'known'::text[])) IS NOT TRUE
           THEN 1 ELSE 0 END = 1
      AND CASE WHEN s.server IS NULL AND s.object_permission_id IS NULL THEN 1 ELSE 0 END = 0;
