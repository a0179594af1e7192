"""Asks LiteLLM's own code what a caller may use."""

import gc
import inspect
import os
import weakref
from contextlib import AsyncExitStack

# The proxy reads its prices from the network unless it is told not to.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from litellm.caching.in_memory_cache import InMemoryCache
from litellm.proxy import proxy_server
from litellm.proxy._types import LitellmUserRoles, UserAPIKeyAuth
from litellm.proxy.auth import auth_checks
from litellm.proxy.utils import PrismaClient

try:
    from litellm.proxy.mcp_server import mcp_server_manager, server
    from litellm.proxy.mcp_server.auth.user_api_key_auth_mcp import MCPRequestHandler
except ImportError:
    from litellm.proxy._experimental.mcp_server import mcp_server_manager, server
    from litellm.proxy._experimental.mcp_server.auth.user_api_key_auth_mcp import MCPRequestHandler

# The route of a toolset says so in a context variable, until the credential itself does.
active_toolset = getattr(server, "_mcp_active_toolset_id", None)
manager = mcp_server_manager.global_mcp_server_manager


def has(of, *names):
    return any(hasattr(of, name) for name in names)


# Which callers this LiteLLM knows, by its code and not by the number of its release.
KNOWS = {
    "end_users": any("end_user" in name for name in dir(MCPRequestHandler)),
    "humans": has(UserAPIKeyAuth.model_construct(), "agent_caller"),
    "toolsets": has(server, "apply_toolset_scope", "_apply_toolset_scope"),
    "sessions": has(MCPRequestHandler, "reload_admitted_user", "_reload_admitted_user"),
}


def caches():
    """Every cache in memory that there is; those made later join it as they are made.

    What Python has to look through for them is large, so that it is done once, and then never again.
    """
    gc.collect()
    found = weakref.WeakSet(made for made in gc.get_objects() if issubclass(type(made), InMemoryCache))
    made = InMemoryCache.__init__

    def watched(self, *arguments, **options):
        made(self, *arguments, **options)
        found.add(self)

    InMemoryCache.__init__ = watched
    gc.freeze()
    return found


CACHES = caches()


class Denied(Exception):
    """LiteLLM refuses the caller."""


def connect(database):
    client = object.__new__(PrismaClient)
    client.__dict__.update(db=database, proxy_logging_obj=proxy_server.proxy_logging_obj)
    for name in ("writer_db", "reader_db"):
        if not hasattr(PrismaClient, name):
            client.__dict__[name] = database
    proxy_server.prisma_client = client


async def load_agents():
    """Fills the registry of agents, as the proxy does on its start and every few seconds."""
    try:
        from litellm.proxy.agent_endpoints.agent_registry import global_agent_registry as registry
    except ImportError:
        return
    registry.load_agents_from_db_and_config(
        agent_config=[], db_agents=await registry.get_all_agents_from_db(proxy_server.prisma_client))


async def of_all(world, callers):
    """servers -> tools or None, of every caller, by whatever key it is given under."""
    async with World(world) as proxy:
        return {who: await proxy.of(caller) for who, caller in callers.items()}


class World:
    """LiteLLM beside one world; a context, in which requests are answered."""

    def __init__(self, world):
        self.world, self.stack = world, AsyncExitStack()

    async def __aenter__(self):
        world = self.world
        settings = world.settings
        proxy_server.general_settings.clear()
        proxy_server.general_settings.update(world.config_file()["general_settings"])
        litellm.personal_key_model_access_from_teams = settings["personal_key_model_access_from_teams"]
        # Whatever remembers rows of the world before.
        for cache in list(CACHES):
            cache.flush_cache()
        auth_checks.last_db_access_time.clear()
        await load_agents()
        manager.registry.clear()
        manager.config_mcp_servers.clear()
        if world.config:
            await manager.load_servers_from_config(world.config)
        reload = getattr(manager, "reload_servers_from_database", None) or manager._add_mcp_servers_from_db_to_in_memory_registry
        if hasattr(manager, "catalog"):
            manager.catalog._applied_revision = manager.catalog._shared_snapshot = None
            await reload()
            await self.stack.enter_async_context(manager.catalog.operation())
        else:
            await reload()
        return self

    async def __aexit__(self, *_):
        await self.stack.aclose()

    async def of(self, caller):
        """servers -> tools or None, of a caller; none where LiteLLM refuses it."""
        try:
            auth = await self.auth(caller)
            if caller["toolset"]:
                auth = await self.on_toolset(auth, caller["toolset"])
        except Denied:
            return {}
        if active_toolset is not None:
            active_toolset.set(caller["toolset"])
        servers = await manager.get_allowed_mcp_servers(auth)
        found = {}
        for id in set(servers) & set(manager.get_registry()):
            tools = await MCPRequestHandler.get_allowed_tools_for_server(id, auth)
            found[id] = None if tools is None else sorted(set(tools))
        return found

    async def auth(self, caller):
        loading = {"prisma_client": proxy_server.prisma_client, "user_api_key_cache": proxy_server.user_api_key_cache}
        if caller["via"] == "session":
            reload = getattr(MCPRequestHandler, "reload_admitted_user", None) or MCPRequestHandler._reload_admitted_user
            return await reload(caller["user"])
        user = None
        if caller["user"]:
            try:
                user = await auth_checks.get_user_object(user_id=caller["user"], user_id_upsert=False, **loading)
            except Exception:
                user = None
        role = LitellmUserRoles(user.user_role) if user and user.user_role else LitellmUserRoles.INTERNAL_USER
        if caller["via"] == "keyless":
            return UserAPIKeyAuth(user_id=caller["user"], team_id=caller["team"], org_id=caller["organization"],
                                  user_role=role if caller["user"] else None)
        # Every key is there: what goes wrong here is a fault of the harness.
        key = await auth_checks.get_key_object(hashed_token=caller["token"], **loading)
        fields = key.model_dump(exclude_none=True)
        fields.pop("api_key", None)
        auth = UserAPIKeyAuth(api_key=caller["token"], **{"user_role": role, **fields, "user_role": role})
        auth.end_user_id = caller["end_user"]
        if "via_virtual_key" in UserAPIKeyAuth.model_fields:
            auth.via_virtual_key = True
        if caller["on_behalf_of"]:
            from litellm.types.agents import AgentCaller

            behind = caller["on_behalf_of"]
            auth.agent_caller = AgentCaller(user_id=behind["user"], team_id=behind["team"])
        return auth

    async def on_toolset(self, auth, toolset):
        from fastapi import HTTPException

        scope = getattr(server, "apply_toolset_scope", None) or server._apply_toolset_scope
        try:
            answer = scope(auth, toolset)
            return await answer if inspect.isawaitable(answer) else answer
        except HTTPException as error:
            raise Denied from error
