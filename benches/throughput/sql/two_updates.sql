-- The repair by hand: no order of locks, no look at who would gain, no way back.
BEGIN;
UPDATE "LiteLLM_ObjectPermissionTable" AS p
SET mcp_servers = ARRAY(
    SELECT r.reference FROM unnest(p.mcp_servers) WITH ORDINALITY AS r (reference, position)
    WHERE EXISTS (SELECT FROM "LiteLLM_MCPServerTable" AS s WHERE s.server_id = r.reference)
    ORDER BY r.position)
WHERE EXISTS (
    SELECT FROM unnest(p.mcp_servers) AS r (reference)
    WHERE NOT EXISTS (SELECT FROM "LiteLLM_MCPServerTable" AS s WHERE s.server_id = r.reference));
UPDATE "LiteLLM_ObjectPermissionTable" AS p
SET mcp_tool_permissions = p.mcp_tool_permissions - ARRAY(
    SELECT r.reference FROM jsonb_object_keys(p.mcp_tool_permissions) AS r (reference)
    WHERE NOT EXISTS (SELECT FROM "LiteLLM_MCPServerTable" AS s WHERE s.server_id = r.reference))
WHERE EXISTS (
    SELECT FROM jsonb_object_keys(p.mcp_tool_permissions) AS r (reference)
    WHERE NOT EXISTS (SELECT FROM "LiteLLM_MCPServerTable" AS s WHERE s.server_id = r.reference));
COMMIT;
