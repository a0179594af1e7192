-- The rows that the access of every key depends on, as they are stored: a plain dump.

COPY (SELECT token, object_permission_id, team_id, organization_id, user_id, agent_id,
             access_group_ids, key_alias
      FROM "LiteLLM_VerificationToken") TO STDOUT;
COPY (SELECT object_permission_id, mcp_servers, mcp_tool_permissions, mcp_access_groups, mcp_toolsets
      FROM "LiteLLM_ObjectPermissionTable") TO STDOUT;
COPY (SELECT team_id, object_permission_id, organization_id, access_group_ids
      FROM "LiteLLM_TeamTable") TO STDOUT;
COPY (SELECT user_id, object_permission_id, user_role
      FROM "LiteLLM_UserTable") TO STDOUT;
COPY (SELECT server_id, server_name, alias, mcp_access_groups, allow_all_keys
      FROM "LiteLLM_MCPServerTable") TO STDOUT;
