#!/bin/sh
# A single PostgreSQL without Patroni: the database and its owner are named by PGUSER, PGPASSWORD and PGDATABASE.
set -eu

data=/data/pgdata
if [ ! -e $data/PG_VERSION ]; then
    initdb --pgdata $data --encoding UTF8 --locale C.UTF-8 --auth-local trust --auth-host scram-sha-256 --no-sync
    echo 'host all all all scram-sha-256' >>$data/pg_hba.conf
    # Single-user mode: nobody can connect before the owner is there.
    printf "CREATE ROLE %s LOGIN PASSWORD '%s'\nCREATE DATABASE %s OWNER %s\n" \
        "$PGUSER" "$PGPASSWORD" "$PGDATABASE" "$PGUSER" | postgres --single -D $data postgres
fi
exec postgres -D $data -c listen_addresses='*' -c unix_socket_directories=/tmp -c shared_buffers=32MB \
    -c fsync=off -c ssl=on -c ssl_cert_file=/etc/tls/server.crt -c ssl_key_file=/etc/tls/server.key
