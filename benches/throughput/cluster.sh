# Runs a private PostgreSQL cluster until standard input closes. Arguments: the folder with the
# binaries, the TCP port. Prints the cluster's folder once it is made.
#
# As the packagers ship it, but for what would only add noise: no autovacuum in the middle of a
# measurement, and no checkpoint forced by the size of the log.
set -eu
bin=$1 port=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$bin/initdb" --pgdata="$dir/data" --username=postgres --auth=trust --encoding=UTF8 \
    --locale=C --no-sync >"$dir/initdb.log"
"$bin/postgres" -D "$dir/data" -k "$dir" -p "$port" -c listen_addresses=127.0.0.1 \
    -c autovacuum=off -c max_wal_size=16GB -c checkpoint_timeout=1h >"$dir/server.log" 2>&1 &
server=$!
echo "$dir"
read -r _ || true
kill -INT "$server"
wait "$server" || true
