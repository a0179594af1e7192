"""Whether LiteLLM itself forgets what `--notify-redis` tells it to: its own cache, listening to a Redis.

Usage: invalidation.py MCP_PRUNE, with the LiteLLM to ask installed and redis-server at hand. The binary
needs the features embedded and redis.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

from litellm.caching.redis_cache import RedisCache
from litellm.proxy.common_utils.auth_cache_invalidation_pubsub import AuthCacheInvalidationSubscriber
from litellm.proxy.common_utils.user_api_key_cache import UserApiKeyCache

FIXTURES = Path(__file__).parent.parent / "fixtures"
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


async def check(program, port, namespace, folder):
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
    dump = Path(folder) / "dump.sql"
    dump.write_text((FIXTURES / "schema.sql").read_text() + (FIXTURES / "cases/beside_live.sql").read_text())
    command = [program, "fix", "--yes", "--no-journal", "--db-url", f"embedded:{dump}"]
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
    print(f"namespace {namespace}: LiteLLM forgot {len(STALE)} entries and kept {len(OTHERS)}")


async def answers(redis):
    try:
        return await redis.init_async_client().ping()
    except Exception:
        return False


async def main(program):
    for namespace in (None, "eu"):
        with tempfile.TemporaryDirectory() as folder:
            port = free_port()
            command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                await check(program, port, namespace, folder)
            finally:
                server.terminate()
                server.wait()


asyncio.run(main(sys.argv[1]))
