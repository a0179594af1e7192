# What the tests on LiteLLM share: the environments of releases, their migrations, and a private PostgreSQL.
# Source it with set -e.

# Nothing that Python compiles is left beside the sources.
export PYTHONDONTWRITEBYTECODE=1

# Whether a release was withdrawn, because it was compromised or broken: nothing installs it.
withdrawn() {
    case $1 in
        1.82.7 | 1.82.8 | 1.107.*) return 0 ;;
        *) return 1 ;;
    esac
}

# Prints the releases of LiteLLM that pip finds, oldest first, without what is not final.
published() {
    local release
    python3 -m pip index versions litellm 2>/dev/null | sed -n 's/^Available versions: //p' | tr -d ' ' | tr , '\n' |
        grep -E '^[0-9]+\.[0-9]+\.[0-9]+$' | sort -V | while read -r release; do
        withdrawn "$release" || echo "$release"
    done
}

# Makes the Python environment of a release: what the proxy needs, without the packages of its own that
# hold its schema and its dashboard, and without a floor under certifi that is not always to be had.
environment() {
    local release=$1 venv=$PWD/target/litellm-$1
    if withdrawn "$release"; then
        echo "litellm $release was withdrawn: it is not installed" >&2
        return 1
    fi
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
    # A release of before 2025-10 may ask for an mcp that does not run with the newest pydantic.
    "$venv/bin/python" -c 'import mcp' 2>"$venv/log" ||
        "$venv/bin/python" -m pip install -q --no-compile 'pydantic<2.12'
    # LiteLLM 1.95 to 1.97 take from fastapi what newer ones have no longer.
    ! grep -qs get_flat_dependant \
        "$venv"/lib/python3*/site-packages/litellm/proxy/management_endpoints/management_v1/common.py ||
        "$venv/bin/python" -c 'from fastapi.dependencies.utils import get_flat_dependant' 2>"$venv/log" ||
        "$venv/bin/python" -m pip install -q --no-compile 'fastapi<0.139'
    # The client that the rows are read with, and Prisma's, whose kinds of error LiteLLM tells apart.
    "$venv/bin/python" -c 'import psycopg, yaml, prisma.errors' 2>"$venv/log" ||
        "$venv/bin/python" -m pip install -q --no-compile 'psycopg[binary]' pyyaml 'prisma==0.11.0'
}

# Prints the folder with the migrations of a release whose environment there is, or nothing where the
# litellm-proxy-extras that it asks for is not published.
migrations() {
    local extras folder download
    extras=$("$PWD/target/litellm-$1/bin/python" - <<'PYTHON'
import re
from importlib.metadata import requires

asked = (re.match(r"litellm-proxy-extras\s*\(?\s*==\s*([\w.]+)", line) for line in requires("litellm"))
print(next((found.group(1) for found in asked if found), ""))
PYTHON
    )
    folder=$PWD/target/conformance/migrations/$extras
    if [ -n "$extras" ] && [ ! -d "$folder" ]; then
        download=$(mktemp -d)
        if python3 -m pip download -q --no-deps --no-binary :none: -d "$download" "litellm-proxy-extras==$extras" \
            2>"$download/log"; then
            python3 -m zipfile -e "$download"/*.whl "$download/wheel"
            mkdir -p "$PWD/target/conformance/migrations"
            mv "$download/wheel/litellm_proxy_extras/migrations" "$folder"
        elif ! grep -q 'No matching distribution' "$download/log"; then
            cat "$download/log" >&2
            return 1
        fi
        rm -rf "$download"
    fi
    if [ -n "$extras" ] && [ -d "$folder" ]; then
        echo "$folder"
    fi
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
