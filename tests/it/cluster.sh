# Runs a private PostgreSQL cluster until standard input closes, and starts it anew, after somebody
# stopped it, at each line. Arguments: the folder with the binaries, the TCP port, and for a hot standby
# the folder and the port of its primary, which is stopped. Prints the cluster's folder once it is made.
set -eu
bin=$1 port=$2 primary=${3-} primary_port=${4-}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
if test -n "$primary"; then
    # A copy of the stopped primary. pg_basebackup need not be there in the version of the server.
    cp -a "$primary/data" "$dir/data"
    touch "$dir/data/standby.signal"
    cat >>"$dir/data/postgresql.conf" <<CONF
primary_conninfo = 'host=$primary port=$primary_port user=postgres'
wal_retrieve_retry_interval = '100ms'
CONF
    chmod 755 "$dir"
else
    "$bin/initdb" --pgdata="$dir/data" --username=postgres --auth=trust --encoding=UTF8 \
        --locale=C --no-sync >"$dir/initdb.log"
    cat >"$dir/data/pg_hba.conf" <<'HBA'
local all all trust
local replication all trust
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
HBA
    # A certificate authority of its own, and a certificate for 127.0.0.1 signed by it.
    if command -v openssl >"$dir/openssl.log"; then
        cd "$dir"
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=mcp-prune test CA" \
            -keyout ca.key -out ca.pem 2>>openssl.log
        openssl req -newkey rsa:2048 -nodes -subj "/CN=127.0.0.1" \
            -keyout data/server.key -out server.csr 2>>openssl.log
        printf 'subjectAltName=IP:127.0.0.1\n' >san.txt
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
            -extfile san.txt -out data/server.crt 2>>openssl.log
        chmod 600 data/server.key
        # A second authority, which signed nothing here.
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=another CA" \
            -keyout other.key -out other.pem 2>>openssl.log
        printf 'ssl = on\n' >>data/postgresql.conf
        chmod 755 "$dir"
        cd /
    fi
fi
serve() {
    "$bin/postgres" -D "$dir/data" -k "$dir" -p "$port" -c listen_addresses=127.0.0.1 \
        -c fsync=off -c max_connections=200 -c password_encryption=scram-sha-256 >>"$dir/server.log" 2>&1 &
    server=$!
}
serve
echo "$dir"
while read -r _; do
    wait "$server" || true
    serve
done
kill -INT "$server"
wait "$server" || true
