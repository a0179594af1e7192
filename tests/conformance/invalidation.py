"""Whether LiteLLM itself forgets what `--notify-redis` tells it to: its own cache, listening to a Redis."""

import asyncio
import importlib.util
import socket
import subprocess
import tempfile
from pathlib import Path

import schema as schemas

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures"
# Those whose permission row is written, and what they are called in LiteLLM's cache.
STALE = [
    "object_permission_id:p-1",
    "object_permission_id:p-2",
    "team_id:team-core",
    "team_alias:core",
    "dcf1f059cedd01b2d9347bd1010bbabdbc54616cf25e2d6c5d103e63b64f0def",
]
OTHERS = ["object_permission_id:p-3", "team_id:another", "ab" * 32]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def until(condition):
    for _ in range(100):
        if await condition():
            return True
        await asyncio.sleep(0.1)
    return False


async def forgets(program, url, schema, port, namespace):
    """How many entries LiteLLM forgot and kept, as it should."""
    from litellm.caching.redis_cache import RedisCache
    from litellm.proxy.common_utils.auth_cache_invalidation_pubsub import AuthCacheInvalidationSubscriber
    from litellm.proxy.common_utils.user_api_key_cache import UserApiKeyCache

    redis = RedisCache(host="127.0.0.1", port=port, namespace=namespace)
    assert await until(lambda: answers(redis)), "redis-server did not come up"
    cache = UserApiKeyCache(redis_cache=redis)
    for key in STALE + OTHERS:
        await cache.async_set_cache(key=key, value={"kept": key}, ttl=600)

    async def present(keys):
        return [key for key in keys if await cache.async_get_cache(key=key) is not None]

    assert await present(STALE + OTHERS) == STALE + OTHERS
    subscriber = AuthCacheInvalidationSubscriber(redis, cache)
    subscriber.start()
    client = redis.init_async_client()

    async def listens():
        return bool(await client.pubsub_channels("*auth_cache_invalidation"))

    assert await until(listens), "LiteLLM does not listen"
    schemas.psql(url, schema, "--command", f'DROP SCHEMA IF EXISTS "{schema}" CASCADE; CREATE SCHEMA "{schema}"',
                 "--file", FIXTURES / "schema.sql", "--file", FIXTURES / "cases/beside_live.sql")
    command = [program, "fix", "--yes", "--no-journal", "--db-url", url, "--schema", schema]
    command += ["--notify-redis", f"redis://127.0.0.1:{port}/0"]
    if namespace:
        command += ["--notify-namespace", namespace]
    ran = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    _, stderr = await ran.communicate()
    assert ran.returncode == 0, stderr.decode()

    async def forgotten():
        return not await present(STALE)

    assert await until(forgotten), f"kept {await present(STALE)}: {stderr.decode()}"
    assert await present(OTHERS) == OTHERS, "more was forgotten than was written"
    await subscriber.stop()
    return len(STALE) + len(OTHERS)


async def answers(redis):
    try:
        return await redis.init_async_client().ping()
    except Exception:
        return False


def check(arguments):
    """Returns how many entries were looked at, or None where the release listens to no messages."""
    if not importlib.util.find_spec("litellm.proxy.common_utils.auth_cache_invalidation_pubsub"):
        return None
    entries = 0
    for namespace in (None, "eu"):
        with tempfile.TemporaryDirectory() as folder:
            port = free_port()
            command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                entries += asyncio.run(forgets(arguments.binary, arguments.url, "messages", port, namespace))
            finally:
                server.terminate()
                server.wait()
    return {"entries": entries}
