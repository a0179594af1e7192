"""Plays an incident on a real LiteLLM proxy, over LiteLLM's own API, and holds `mcp-prune` against what the proxy does.

Run by a Python that has LiteLLM and Prisma's client: story.py --binary FILE --url URL --release VERSION
[--migrations FOLDER]. Ends with 1, and says which check failed, where one does.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import pathlib
import secrets
import signal
import subprocess
import sys
import tempfile
import time

import yaml

from proxy import Failed, litellm, mcp_server, redis, until

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "conformance"))
import schema

ALL_TOOLS = {"search", "write"}
# How long the proxy may take until it shows what the database says. Its caches are as good as off, or are told.
AGREE_SECONDS = 30


class Story:
    def __init__(self, arguments, folder, api, config, database_url, notify):
        self.binary, self.release = arguments.binary, arguments.release
        self.folder, self.api, self.config, self.database_url, self.notify = folder, api, config, database_url, notify
        numbers = [int(part) for part in arguments.release.split(".")[:2]]
        self.refuses_to_save, self.saves_wider = numbers < [1, 88], numbers >= [1, 88]
        # From 1.83.3 to 1.93, `tools/list` also shows the tools of a key's toolsets. `tools/call` refuses them.
        self.lists_toolsets, self.toolset = [1, 83] <= numbers < [1, 94], {"wiki", "legacy"}
        # From 1.92 on, the schema says that the proxy knows the deny marker. Before, what would need it is held.
        self.held = ("nightly", "saved", "late") if numbers < [1, 92] else ()
        self.keys, self.servers, self.checks = {}, {}, 0

    def check(self, holds, what):
        if not holds:
            raise Failed(what)
        self.checks += 1

    def equal(self, found, wanted, what):
        self.check(found == wanted, f"{what}: found {found}, wanted {wanted}")

    # The program.

    def run(self, command, *options, exits=0):
        """Runs mcp-prune with a report as NDJSON; returns its lines."""
        line = [self.binary, command, *options, "--db-url", self.database_url, "--format", "ndjson"]
        if command != "undo":
            line += ["--litellm-config", self.config]
        ran = subprocess.run(line, capture_output=True, text=True, timeout=120)
        self.equal(ran.returncode, exits, f"the exit code of {' '.join(map(str, line))}\n{ran.stdout}{ran.stderr}")
        return [json.loads(text) for text in ran.stdout.splitlines()]

    def writing(self, command, *options, told=True, journal=None, exits=0):
        """Runs a command that writes, and has it tell the proxy where it listens; returns the report's lines."""
        if journal:
            options = (*options, "--journal", self.folder / journal)
        else:
            options = (*options, "--no-journal")
        notify = ["--notify-redis", self.notify] if self.notify and told else []
        return self.run(command, "--yes", *options, *notify, exits=exits)

    def access(self):
        """What `access` says of every key, as {alias: {server: tools}}."""
        lines = self.run("access", "--litellm-version", self.release)
        callers = [line for line in lines if line["type"] == "caller"]
        told = {}
        for caller in callers:
            if caller["via"] == "key" and not caller["toolset"] and not caller["end_user"]:
                self.check(caller["complete"], f"access is not certain: {caller}")
                tools = {server["name"]: ALL_TOOLS if server["tools"] is None else set(server["tools"])
                         for server in caller["servers"]}
                told[caller["key"]["name"]] = {server: tools for server, tools in tools.items() if tools}
        self.equal(told.keys(), self.keys.keys(), "the keys that access lists")
        return told

    def stale(self, *options, exits=2):
        """The stale references that `scan` finds, each with its row and column."""
        lines = self.run("scan", *options, exits=exits)
        return {(line["table"], line["row"], line["column"], line["reference"])
                for line in lines if line["type"] == "finding" and line["kind"] == "stale"}

    # The proxy.

    def listed(self):
        """What the proxy lists, key by key."""
        return {alias: self.api.tools(key) for alias, key in self.keys.items()}

    def agree(self, moment):
        """Compares what `access` says with what the proxy lists, key by key; returns it."""
        shown, end = self.shown(self.access()), time.monotonic() + AGREE_SECONDS
        listed = self.listed()
        while listed != shown and time.monotonic() < end:
            time.sleep(0.5)
            listed = self.listed()
        for alias in self.keys:
            self.equal(shown[alias], listed[alias], f"{moment}: what access says of {alias}, and what the proxy lists")
        return listed

    def shown(self, told):
        """What the proxy lists to those who may use what `access` tells: the same, or more of a toolset."""
        if not self.lists_toolsets:
            return told
        reader = {server: set(tools) for server, tools in told["reader"].items()}
        for server in self.toolset & self.served():
            reader.setdefault(server, set()).add("search")
        return {**told, "reader": reader}

    def served(self):
        return {server["server_name"] for server in self.api.call("GET", "/v1/mcp/server")}

    def calls_agree(self, *aliases):
        """Calls every tool of every server with these keys: what `access` tells answers, and nothing else."""
        told = self.access()
        for alias in aliases:
            for server in (*self.servers, "docs"):
                may = {tool for tool in ALL_TOOLS if self.api.may_call(self.keys[alias], server, tool)}
                self.equal(may, told[alias].get(server, set()), f"which tools of {server} answer to {alias}")

    def add_server(self, name, url, **fields):
        body = {"server_name": name, "alias": name, "url": url, "transport": "http", "auth_type": "none", **fields}
        self.servers[name] = self.api.call("POST", "/v1/mcp/server", body)["server_id"]

    def add_team(self, alias, *servers):
        body = {"team_alias": alias, "object_permission": {"mcp_servers": servers}}
        return self.api.call("POST", "/team/new", body)["team_id"]

    def add_key(self, alias, team=None, groups=(), **permission):
        body = {"key_alias": alias, "models": [], **({"team_id": team} if team else {})}
        if groups:
            body["access_group_ids"] = list(groups)
        if permission:
            body["object_permission"] = permission
        self.keys[alias] = self.api.call("POST", "/key/generate", body)["key"]

    def ids(self, *names):
        return [self.servers[name] for name in names]

    def save(self, alias):
        """Saves a key as the dashboard does: with the grants that it was shown."""
        hash = hashlib.sha256(self.keys[alias].encode()).hexdigest()
        shown = self.api.call("GET", "/key/info", key=hash)["info"]["object_permission"]
        fields = ("mcp_servers", "mcp_access_groups", "mcp_tool_permissions")
        grants = {field: shown[field] for field in fields if shown.get(field) is not None}
        return self.api.answer("POST", "/key/update", {"key": hash, "key_alias": alias, "object_permission": grants})

    def if_saved(self, alias):
        """What `access` says that LiteLLM does when the dashboard saves the key."""
        lines = self.run("access", f"key:{alias}", "--litellm-version", self.release)
        return next(line for line in lines if line["type"] == "caller" and not line["toolset"])["would_change"]["if_saved"]

    # The story.

    def play(self, mcp_url):
        self.everything_is_new(mcp_url)
        self.a_server_is_deleted()
        self.the_dashboard_saves_a_key()
        self.a_repair_that_widens_is_seen_at_once()
        self.a_repair_changes_nobodys_access()
        self.the_dashboard_saves_repaired_keys()
        self.a_server_for_every_key(mcp_url)

    def everything_is_new(self, mcp_url):
        for name in ("github", "jira", "wiki", "legacy"):
            self.add_server(name, mcp_url)
        self.team = self.add_team("platform", *self.ids("github", "jira", "legacy"))
        # Releases that answer 403 take servers on a key only if its team has them.
        everything = self.add_team("everything", *self.ids("github", "jira", "wiki", "legacy"), "docs")
        tools = [{"server_id": id, "tool_name": "search"} for id in self.ids(*self.toolset)]
        toolset = self.api.call("POST", "/v1/mcp/toolset", {"toolset_name": "reading", "tools": tools})["toolset_id"]
        group = self.api.call("POST", "/v1/access_group", {
            "access_group_name": "writers", "access_mcp_server_ids": self.ids("wiki", "legacy")})["access_group_id"]
        for alias in ("nightly", "saved", "late"):
            self.add_key(alias, self.team, mcp_servers=self.ids("legacy"))
        self.add_key("ci", self.team, mcp_servers=self.ids("github", "legacy"))
        self.add_key("heir", self.team)
        self.add_key("nobody")
        self.add_key("reader", everything, mcp_servers=self.ids("jira"), mcp_toolsets=[toolset])
        self.add_key("writer", everything, groups=[group])
        self.add_key("solo", everything, mcp_servers=[*self.ids("github", "legacy"), "docs"],
                     mcp_tool_permissions={self.servers["github"]: ["search"], self.servers["legacy"]: ["write"]})
        listed = self.agree("everything is new")
        self.equal(listed["ci"], {"github": ALL_TOOLS, "legacy": ALL_TOOLS}, "what ci lists")
        self.equal(listed["nightly"], {"legacy": ALL_TOOLS}, "what nightly lists")
        self.equal(listed["heir"].keys(), {"github", "jira", "legacy"}, "what heir lists")
        self.equal(listed["nobody"], {}, "what nobody lists")
        self.equal(listed["solo"], {"github": {"search"}, "legacy": {"write"}, "docs": ALL_TOOLS}, "what solo lists")
        self.calls_agree("solo", "reader")

    def a_server_is_deleted(self):
        before = self.access()
        lines = self.run("scan", "--if-deleted", "legacy", exits=2)
        loses = {line["key"]["name"] for line in lines
                 if line["type"] == "affected_caller" and line["via"] == "key" and not line["toolset"] and line["loses"]}
        foretold = self.stale("--if-deleted", "legacy")
        self.api.call("DELETE", f"/v1/mcp/server/{self.servers['legacy']}")
        after = self.agree("legacy is deleted")
        lost = {alias for alias in self.keys if "legacy" in before[alias]}
        without = {alias: {name: tools for name, tools in servers.items() if name != "legacy"}
                   for alias, servers in before.items()}
        self.equal(after, self.shown(without), "what is listed without the server")
        self.equal(loses, lost, "who loses something, as --if-deleted foretold it")
        self.equal(self.stale(), foretold, "the stale references, as --if-deleted foretold them")
        self.check(len(foretold) >= 8, f"legacy was named more often: {foretold}")
        self.equal(after["nightly"], {}, "what nightly lists: a stale reference denies")
        # Somebody takes the server off the team in the dashboard, which cleans the team and not its keys.
        self.api.call("POST", "/team/update", {
            "team_id": self.team, "object_permission": {"mcp_servers": self.ids("github", "jira")}})
        self.agree("the team is cleaned")

    def the_dashboard_saves_a_key(self):
        foretold = self.if_saved("saved")
        status, answer = self.save("saved")
        if self.refuses_to_save:
            self.equal(status, 403, f"LiteLLM answers {answer}")
            self.check(self.servers["legacy"] in str(answer), f"the refusal names the server: {answer}")
            refused_by = [named["reference"] for named in foretold["refused_by"]]
            self.equal(refused_by, self.ids("legacy"), "what the save is refused for, as access foretold it")
            self.equal(self.agree("a key could not be saved")["saved"], {}, "what saved lists")
            self.equal(self.save("ci")[0], 403, "the answer to the save of ci")
        if self.saves_wider:
            self.equal(status, 200, f"LiteLLM answers {answer}")
            listed = self.agree("a key was saved")
            self.equal(listed["saved"].keys(), {"github", "jira"}, "what saved lists: its save widened it")
            gained = {server["name"] for server in foretold["gained"]}
            self.equal(gained, listed["saved"].keys(), "what saved gained, as access foretold it")

    def a_repair_that_widens_is_seen_at_once(self):
        """Empties a list of which everybody sees the effect; without a notice, a proxy acts on what it remembers."""
        clear = ("fix", "--owner", "key:late", "--on-empty", "clear", "--accept-widening")
        before = self.agree("before a widening")
        self.check(not self.late_may_call(), "late may call a tool before the repair")
        if self.notify:
            # From 1.105 on, `tools/list` reads the database. `tools/call` asks the cache.
            self.writing(*clear, told=False, journal="not-told")
            self.equal(self.access()["late"].keys(), {"github", "jira"}, "what late may use, as access says")
            self.check(not self.late_may_call(), "a proxy that was not told forgets by itself")
            self.writing("undo", self.folder / "not-told", told=False)
        self.writing(*clear, journal="told")
        until(self.late_may_call, "late does not get the tool that it gained")
        after = self.agree("a key was widened")
        self.equal(after["late"].keys(), {"github", "jira"}, "what late lists")
        self.equal({**after, "late": {}}, before, "what the others list")
        self.writing("undo", self.folder / "told")
        until(lambda: not self.late_may_call(), "late keeps the tool that it lost")
        self.equal(self.agree("the widening was taken back"), before, "what is listed")

    def late_may_call(self):
        return self.api.may_call(self.keys["late"], "github", "search")

    def a_repair_changes_nobodys_access(self):
        before, stale = self.listed(), self.stale()
        self.deny(journal="deny")
        self.equal(self.agree("repaired"), before, "what is listed after the repair")
        self.writing("undo", self.folder / "deny")
        self.equal(self.agree("the repair was taken back"), before, "what is listed")
        self.equal(self.stale(), stale, "the stale references after undo")
        if self.refuses_to_save:
            self.equal(self.save("ci")[0], 403, "the answer to the save of ci, with its stale reference back")
        self.deny()
        self.equal(self.agree("repaired again"), before, "what is listed after the second repair")

    def deny(self, journal=None):
        lines = self.writing("fix", "--on-empty", "deny", journal=journal, exits=3 if self.held else 0)
        held = {owner["name"] for line in lines if line["type"] == "held" for owner in line["owners"]}
        self.equal(held, set(self.held), "whose references are held")
        left = self.stale(exits=2 if self.held else 0)
        self.equal(len(left), len(self.held), f"how many stale references are left: {left}")

    def the_dashboard_saves_repaired_keys(self):
        before = self.listed()
        for alias in ("ci", "nightly", "late", "saved"):
            status, answer = self.save(alias)
            self.equal(status, 403 if alias in self.held else 200, f"the answer to the save of {alias}: {answer}")
        after = self.agree("the repaired keys were saved")
        self.equal(after, before, "what is listed after the repaired keys were saved")
        self.equal(after["nightly"], {}, "what nightly lists")
        self.equal(after["ci"], {"github": ALL_TOOLS}, "what ci lists")
        self.calls_agree(*self.keys)

    def a_server_for_every_key(self, mcp_url):
        self.add_server("status", mcp_url, allow_all_keys=True)
        listed = self.agree("a server is open to every key")
        self.equal(listed["nobody"], {"status": ALL_TOOLS}, "what nobody lists")
        # The deny marker denies this server too. A stale reference does not.
        self.equal(listed["nightly"], {"status": ALL_TOOLS} if self.held else {}, "what nightly lists")


def make_database(arguments):
    name = "proxy_" + arguments.release.replace(".", "_")
    for statement in (f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"'):
        schema.psql(arguments.url, "public", "--command", statement)
    url = arguments.url.rpartition("/")[0] + "/" + name
    prisma = pathlib.Path(importlib.util.find_spec("litellm").origin).parent / "proxy/schema.prisma"
    print(f"{arguments.release}: tables of {schema.create(url, 'public', prisma.read_text(), arguments.migrations)}", flush=True)
    return url


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True, type=lambda file: pathlib.Path(file).resolve())
    parser.add_argument("--url", required=True)
    parser.add_argument("--release", required=True)
    parser.add_argument("--migrations", type=lambda folder: folder and pathlib.Path(folder))
    arguments = parser.parse_args()
    # So that what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    hears = [int(part) for part in arguments.release.split(".")[:2]] >= [1, 97]
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database_url = make_database(arguments)
        mcp, mcp_url = mcp_server(folder)
        stack.enter_context(mcp)
        # A proxy that is told remembers for ever, so that it shows a change only because it was told; one that
        # cannot be told remembers nothing.
        remembers = 36000 if hears else 0
        config = {"model_list": [], "general_settings": {"user_api_key_cache_ttl": remembers or 0.001},
                  "mcp_servers": {"docs": {"url": mcp_url, "transport": "http"}}}
        notify = None
        if hears:
            context, port = redis(folder)
            stack.enter_context(context)
            notify = f"redis://127.0.0.1:{port}/0"
            config["litellm_settings"] = {
                "cache": True, "cache_params": {"type": "redis", "host": "127.0.0.1", "port": port}}
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump(config))
        context, api = litellm(
            folder, file, database_url, "sk-" + secrets.token_hex(32),
            DEFAULT_MANAGEMENT_OBJECT_IN_MEMORY_CACHE_TTL=str(remembers), DEFAULT_ACCESS_GROUP_CACHE_TTL=str(remembers))
        stack.enter_context(context)
        print(f"{arguments.release}: the proxy answers ({time.monotonic() - started:.0f} s)", flush=True)
        story = Story(arguments, folder, api, file, database_url, notify)
        try:
            story.play(mcp_url)
        except Exception:
            print(f"the end of LiteLLM's log:\n{(folder / 'litellm.log').read_text()[-3000:]}", file=sys.stderr)
            raise
        print(f"{arguments.release}: {story.checks} checks passed ({time.monotonic() - started:.0f} s)")


try:
    main()
except Failed as failure:
    sys.exit(f"FAILED: {failure}")
