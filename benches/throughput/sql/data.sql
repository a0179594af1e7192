-- Permission rows as a proxy has them. Variables: `servers`, `rows`; `every`, so that one row in
-- `every` holds a deleted id in mcp_servers, and two in five times `every` one in
-- mcp_tool_permissions; `variants`, how many arrays there are to choose from (0 for one a row);
-- `keys`, how many virtual keys link to each row; `tools`, how many tools are permitted of each
-- server in mcp_tool_permissions of every row (0: two tools, in one row of four).
--
-- Nothing is random: a row's array follows from the hash of its number, so two runs see the same.

INSERT INTO "LiteLLM_MCPServerTable" (server_id, server_name, alias)
SELECT md5('server ' || n)::uuid::text, 'server_' || n, 'alias_' || n
FROM generate_series(1, :servers) AS n;

INSERT INTO "LiteLLM_ObjectPermissionTable"
    (object_permission_id, mcp_servers, mcp_tool_permissions)
SELECT md5('row ' || r.i)::uuid::text,
       CASE WHEN r.stale_servers THEN array_append(r.servers, r.gone) ELSE r.servers END,
       CASE WHEN r.stale_tools
            THEN coalesce(r.tools, '{}') || jsonb_build_object(r.gone, '["read"]'::jsonb)
            ELSE r.tools END
FROM (
    SELECT v.i, v.stale_servers, v.stale_tools, md5('gone ' || v.variant % 7)::uuid::text AS gone,
           -- A row with a deleted id keeps a live one, so that nothing is held, and `fix` does
           -- what the two UPDATEs do.
           ARRAY(SELECT s.ids[1 + abs(hashint8(8 * v.variant + g)::bigint) % :servers]
                 FROM generate_series(1, greatest(abs(hashint8(-v.variant)::bigint) % 8,
                                                  v.never_empty::int)) AS g) AS servers,
           CASE WHEN v.i % 4 = 1 OR :tools > 0 THEN
               (SELECT jsonb_object_agg(
                           s.ids[1 + abs(hashint8(16 * v.variant + g)::bigint) % :servers],
                           CASE WHEN :tools = 0 THEN '["read", "write"]'
                                ELSE (SELECT jsonb_agg(md5(concat_ws(' ', v.variant, g, n)))
                                      FROM generate_series(1, :tools) AS n) END)
                FROM generate_series(1, 1 + v.i % 16 / 4) AS g)
           END AS tools
    FROM (
        SELECT f.*,
               CASE WHEN :variants = 0 THEN f.i
                    WHEN f.stale_servers THEN :variants - 4 + f.i % 4
                    WHEN f.stale_tools THEN :variants - 12 + f.i % 8
                    ELSE abs(hashint8(f.i)::bigint) % (:variants - 4)
               END AS variant,
               f.stale_servers OR f.stale_tools
                   OR (:variants > 0 AND abs(hashint8(f.i)::bigint) % (:variants - 4) >= :variants - 12)
                   AS never_empty
        FROM (
            SELECT i, i % :every = 0 AS stale_servers, i % (5 * :every) IN (1, 2) AS stale_tools
            FROM generate_series(1::bigint, :rows) AS i
        ) AS f
    ) AS v,
    (SELECT array_agg(server_id ORDER BY server_id) AS ids FROM "LiteLLM_MCPServerTable") AS s
) AS r;

-- Each row is linked by as many keys; every other key has a team.
INSERT INTO "LiteLLM_VerificationToken"
    (token, key_name, key_alias, user_id, team_id, object_permission_id)
SELECT md5('a' || i) || md5('b' || i), 'sk-...' || i, 'key-' || i, 'user-' || i % 5000,
       CASE WHEN i % 2 = 0 THEN 'team-' || i % 500 END,
       md5('row ' || 1 + (i - 1) % :rows)::uuid::text
FROM generate_series(1::bigint, :rows::bigint * :keys) AS i;

VACUUM ANALYZE;
