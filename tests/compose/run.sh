#!/usr/bin/env bash
# The walk-through of the README on the cluster of docker-compose.yml: a file in, a torrent stopped, the file out, the lost copies made
# again. Every command of it stands in the README, and is run as it stands there.
#
# On a machine whose Compose is of the first generation (docker-compose) the same commands go to that.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Where it cannot be tried that is said aloud; with MDS_REQUIRE_COMPOSE=1 it is a failure.
skip() {
    echo "SKIPPED: $1, so the compose cluster was not tried"
    [ -z "${MDS_REQUIRE_COMPOSE:-}" ] || exit 1
    exit 0
}
timeout 20 docker info >/dev/null 2>&1 || skip "no Docker engine answers"
docker compose version >/dev/null 2>&1 || docker-compose version >/dev/null 2>&1 || skip "there is no Docker Compose here"

README=$PWD/README.md
export COMPOSE_FILE=$PWD/docker-compose.yml COMPOSE_PROJECT_NAME=mds-compose-test
SERVICES="mosquitto tracker torrent-1 torrent-2 torrent-3"
work=$(mktemp -d)

say() { printf -- '-- %s\n' "$*"; }

fail() {
    echo "FAILED: $*" >&2
    docker compose ps >&2 || true
    docker compose logs --tail 40 >&2 || true
    exit 1
}

# `docker compose`, also where only `docker-compose` is there: it has no `up --wait`.
if ! command docker compose version >/dev/null 2>&1; then
    docker() {
        [ "$1" = compose ] || { command docker "$@"; return; }
        shift
        if [ "$*" = "up --build --wait" ]; then
            docker-compose up --build --detach
            eventually 180 healthy $SERVICES
        else
            docker-compose "$@"
        fi
    }
fi

container() { docker compose ps --all --quiet "$1"; }

# A property of a service's container.
property() { command docker inspect --format "{{ $2 }}" "$(container "$1")"; }

healthy() {
    local service
    for service in "$@"; do [ "$(property "$service" .State.Health.Status)" = healthy ] || return 1; done
}

# Tries a command until it succeeds, for at most that many seconds.
eventually() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >"$work/last" 2>&1; do
        [ $SECONDS -lt $until ] || { cat "$work/last" >&2; fail "this did not come true: $*"; }
        sleep 1
    done
}

# Runs a command of the README, in an empty directory.
readme() {
    grep -qxF -e "$1" <(sed 's/  *#.*//' "$README") || fail "this is not in the README: $1"
    say "$1"
    (cd "$work" && eval "$1" </dev/null)
}

# Whether every fragment has two holders among these torrents.
held_twice_by() {
    docker compose exec -T tracker mds info map.tiles --json >"$work/info.json" </dev/null
    python3 - "$work/info.json" "$@" <<'PYTHON'
import json, sys
file, *torrents = json.load(open(sys.argv[1])), *sys.argv[2:]
fragments = file["fragments"]
poor = [f for f in fragments if len(set(f["holders"]) & set(torrents)) < 2]
print(f"{len(fragments)} fragments, {len(poor)} without two copies on {torrents}")
sys.exit(1 if poor or not fragments else 0)
PYTHON
}

registered() {
    docker compose exec -T tracker mds peers --json </dev/null |
        python3 -c 'import json, sys; sys.exit(sum(p["state"] == "registered" for p in json.load(sys.stdin)) != int(sys.argv[1]))' "$1"
}

clean_up() {
    docker compose down --volumes --timeout 30 >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT

say "base images"
tests/compose/base-images.sh
docker compose down --volumes >/dev/null 2>&1 || true

readme 'docker compose up --build --wait'
healthy $SERVICES || fail "not everything is healthy"
for service in $SERVICES; do
    [ "$(property "$service" .HostConfig.ReadonlyRootfs)" = true ] || fail "$service can write to its image"
    case $(property "$service" .Config.User) in "" | 0* | root*) fail "$service runs as root" ;; esac
done
readme 'curl http://127.0.0.1:7481/readyz'
eventually 60 registered 3

readme 'head -c 20000000 /dev/urandom > map.tiles'
readme 'docker compose exec -T tracker mds put - --name map.tiles --wait 2 < map.tiles'
readme 'docker compose exec -T tracker mds info map.tiles'
readme 'docker compose exec -T tracker mds status'

readme 'docker compose stop torrent-2'
[ "$(property torrent-2 .State.ExitCode)" = 0 ] || fail "the torrent did not end as asked"
docker compose logs torrent-2 | grep "torrent ended" >/dev/null || fail "the torrent did not say goodbye"
readme 'docker compose exec -T tracker mds get map.tiles -o - > copy.tiles'
readme 'cmp map.tiles copy.tiles'
say "the copies that are missing are made again"
eventually 180 held_twice_by torrent-1 torrent-3
readme 'docker compose exec -T tracker mds status' || fail "all copies are there, but not all is well"

readme 'docker compose start torrent-2'
eventually 120 registered 3
eventually 120 healthy torrent-2
readme 'docker compose exec -T torrent-2 mds get map.tiles -o - > again.tiles'
cmp "$work/map.tiles" "$work/again.tiles"
readme 'docker compose down --volumes'
say "the compose cluster does what the README says"
