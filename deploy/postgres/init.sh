#!/bin/sh
# Run once, when the volume of deploy/compose.yaml's PostgreSQL is made: a user and a database for Farebox, which may do in it what
# it likes and nothing elsewhere. The superuser is left without a password, so that it can be had inside the container alone:
# docker compose -f deploy/compose.yaml exec postgres psql -U postgres
set -eu
psql -v ON_ERROR_STOP=1 -v password="$POSTGRES_PASSWORD" -U postgres <<'END'
CREATE ROLE farebox LOGIN PASSWORD :'password';
CREATE DATABASE farebox OWNER farebox;
REVOKE ALL ON DATABASE farebox FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
END
