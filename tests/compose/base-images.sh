#!/usr/bin/env bash
# Sees that the images which docker-compose.yml and docker/Dockerfile begin with are there: as they are, pulled, or, where no registry
# answers, made on this machine under the same names, from Debian's packages and this machine's own Rust.
set -euo pipefail
PATH=$PATH:/usr/sbin
cd "$(dirname "$0")/../.."

BROKER=eclipse-mosquitto:2
RUST=$(sed -n 's/^FROM \(rust:[^ ]*\) AS build$/\1/p' docker/Dockerfile)
LABEL=mds.made-from

# With --no-make nothing is made: that takes minutes. The exit code is then 3 if something would have to be.
no_make=
[ "${1:-}" != --no-make ] || no_make=1

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# The label of a stand-in; empty for an image from a registry; fails if there is no such image.
label() { docker image inspect --format "{{ index .Config.Labels \"$LABEL\" }}" "$1" 2>/dev/null; }

# Whether an image is there and can be used: one from a registry, or a stand-in made from the same things.
is_there() {
    local found
    if found=$(label "$1"); then
        [ -z "$found" ] || [ "$found" = "$2" ]
    else
        timeout 120 docker pull --quiet "$1" 2>/dev/null
    fi
}

# Installs a package of Debian's if the program that it has is missing.
need() {
    local package=$1 program
    shift
    for program in "$@"; do
        command -v "$program" >/dev/null && continue
        if [ -n "$package" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
        else
            echo "making stand-ins for base images needs $program" >&2
            exit 1
        fi
    done
}

# A program, and the libraries that it is linked to, into a root.
take() {
    local root=$1 file
    shift
    for file in "$@" $(ldd "$@" | grep -o '/[^ :]*\.so[^ :]*' | sort -u); do
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
}

# Debian's Mosquitto, with the paths, the user and the entrypoint of the image that it stands for.
make_broker() {
    need mosquitto mosquitto
    need mosquitto-clients mosquitto_sub mosquitto_pub
    local root=$made/broker
    take "$root" /bin/sh /usr/bin/id /usr/bin/chown "$(command -v mosquitto)" /usr/bin/mosquitto_sub /usr/bin/mosquitto_pub
    mkdir -p "$root"/etc "$root"/tmp "$root"/mosquitto/{config,data,log}
    echo 'root:x:0:0:root:/:/bin/sh
mosquitto:x:1883:1883:mosquitto:/var/empty:/sbin/nologin' >"$root/etc/passwd"
    echo 'root:x:0:
mosquitto:x:1883:' >"$root/etc/group"
    cat >"$root/docker-entrypoint.sh" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$(id -u)" = 0 ]; then
    chown -R mosquitto:mosquitto /mosquitto || true
fi
exec "$@"
SCRIPT
    chmod 755 "$root/docker-entrypoint.sh"
    chown -R 1883:1883 "$root/mosquitto"
    tar -C "$root" -c . | docker import \
        --change 'ENTRYPOINT ["/docker-entrypoint.sh"]' \
        --change 'CMD ["/usr/sbin/mosquitto", "-c", "/mosquitto/config/mosquitto.conf"]' \
        --change 'VOLUME ["/mosquitto/data", "/mosquitto/log"]' \
        --change "LABEL $LABEL=$1" - "$BROKER" >/dev/null
}

# Debian with a C compiler and this machine's Rust, with the crates that it has fetched already.
make_toolchain() {
    need debootstrap debootstrap
    need '' rustc cargo
    local root=$made/rust home=${CARGO_HOME:-$HOME/.cargo} sysroot
    sysroot=$(rustc --print sysroot)
    cargo fetch --locked --quiet
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev bookworm "$root" >"$made/log" 2>&1 || {
        tail -n 20 "$made/log" >&2
        exit 1
    }
    rm -rf "$root"/var/cache/apt/archives/*.deb
    local toolchain=$root/usr/local/rustup/toolchains/stable cargo_home=$root/usr/local/cargo
    mkdir -p "$toolchain/bin" "$cargo_home/bin" "$cargo_home/registry"
    cp "$sysroot"/bin/{cargo,rustc} "$toolchain/bin/"
    cp -r "$sysroot/lib" "$toolchain/"
    ln -s ../../rustup/toolchains/stable/bin/{cargo,rustc} "$cargo_home/bin/"
    cp -r "$home"/registry/{cache,index} "$cargo_home/registry/"
    tar -C "$root" -c . | docker import \
        --change 'ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV CARGO_NET_OFFLINE=true' - mds-toolchain >/dev/null
    rm -rf "$root"
}

# The crates of others are compiled once, around empty ones in place of ours, and kept where the Dockerfile has its target directory,
# until one of them changes. Ours are compiled by each build of the image.
make_rust() {
    # The one before, and what was built on it.
    docker image rm --force "$RUST" >/dev/null 2>&1 || true
    docker image prune --force >/dev/null
    make_toolchain
    local ours
    ours=$(grep -h -m 1 '^name = ' crates/*/Cargo.toml | sed 's/name = "\(.*\)"/-p \1/' | tr '\n' ' ')
    docker build --quiet --force-rm --tag mds-compiled --file - . >/dev/null <<DOCKERFILE
FROM mds-toolchain
WORKDIR /src
$(grep '^ARG \|^ENV ' docker/Dockerfile)
COPY . .
RUN for file in crates/*/src/lib.rs; do : >"\$file"; done; for file in crates/*/src/main.rs; do echo 'fn main() {}' >"\$file"; done
$(sed -n 's/^\(RUN cargo build .*\) \\$/\1/p' docker/Dockerfile) && cargo clean --release --target "\$(rustc --print host-tuple)" $ours
DOCKERFILE
    docker build --quiet --force-rm --tag "$RUST" --label "$LABEL=$1" - >/dev/null <<DOCKERFILE
FROM mds-toolchain
COPY --from=mds-compiled /usr/local/cargo/registry/src /usr/local/cargo/registry/src
COPY --from=mds-compiled /target /target
DOCKERFILE
    docker image rm --force mds-compiled >/dev/null
}

broker_key=$(dpkg-query -W -f '${Version}' mosquitto 2>/dev/null || echo unknown)
is_there "$BROKER" "$broker_key" || {
    [ -z "$no_make" ] || exit 3
    echo "making $BROKER from Debian's mosquitto $broker_key"
    make_broker "$broker_key"
}

rust_key=$( (rustc --version --verbose; cat Cargo.lock; grep '^ARG \|^ENV ' docker/Dockerfile) | sha256sum | cut -c -16)
is_there "$RUST" "$rust_key" || {
    [ -z "$no_make" ] || exit 3
    echo "making $RUST from this machine's $(rustc --version); this takes some minutes"
    make_rust "$rust_key"
}
