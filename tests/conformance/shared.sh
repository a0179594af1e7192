# What run and mutate share: the environments of releases, and a private PostgreSQL. Source it with set -e.

# Makes the Python environment of a release: what the proxy needs, without the packages of its own that
# hold its schema and its dashboard, and without a floor under certifi that is not always to be had.
environment() {
    local release=$1 venv=$PWD/target/litellm-$1
    if [ ! -x "$venv/bin/python" ]; then
        python3 -m venv "$venv"
        "$venv/bin/python" -m pip install -q --no-compile --no-deps "litellm==$release"
        "$venv/bin/python" - <<'PYTHON' >"$venv/requirements.txt"
import re
from importlib.metadata import requires

OWN = ("certifi", "litellm", "litellm-proxy", "litellm-proxy-extras", "litellm-enterprise")
for line in requires("litellm"):
    requirement, _, marker = line.partition(";")
    name = re.split(r"[ <>=!~\[(]", requirement)[0]
    if name not in OWN and ("extra ==" not in marker or re.search(r"extra == .proxy.", marker)):
        print(requirement.strip())
PYTHON
        "$venv/bin/python" -m pip install -q --no-compile -r "$venv/requirements.txt" certifi
    fi
    # The client that the rows are read with, and Prisma's, whose kinds of error LiteLLM tells apart.
    "$venv/bin/python" -c 'import psycopg, yaml, prisma.errors' 2>"$venv/log" ||
        "$venv/bin/python" -m pip install -q --no-compile 'psycopg[binary]' pyyaml 'prisma==0.11.0'
}

# Starts a private PostgreSQL, and says in `url` where it listens.
serve() {
    local port
    bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/pg_ctl 2>/dev/null | tail -1)")
    folder=$(mktemp -d)
    as=()
    if [ "$(id -u)" -eq 0 ]; then
        chown postgres "$folder"
        as=(runuser -u postgres --)
    fi
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    trap stop EXIT
    (cd / && "${as[@]}" "$bin/initdb" --pgdata="$folder/data" --username=postgres --auth=trust \
        --encoding=UTF8 --locale=C --no-sync &&
        "${as[@]}" "$bin/pg_ctl" --pgdata="$folder/data" --log="$folder/log" --wait start \
            --options="-k $folder -p $port -c listen_addresses=127.0.0.1 -c fsync=off") >"$folder.log"
    url=postgresql://postgres@127.0.0.1:$port/postgres
}

stop() {
    (cd / && "${as[@]}" "$bin/pg_ctl" --pgdata="$folder/data" --mode=immediate stop) >>"$folder.log" || true
    rm -rf "$folder" "$folder.log"
}
