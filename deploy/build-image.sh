#!/usr/bin/env bash
# Build the container image with what is there: a Docker engine that answers, or else buildah, which needs none.
#
#     deploy/build-image.sh [NAME:TAG [argument of the engine's build ...]]
#
# BASE=image@sha256:...   the base image; the Dockerfile says what it must have
# BASE=debootstrap        make the base from Debian's packages, where no registry can be reached (root, debootstrap)
# MIRROR=address          Debian's mirror for that; by default debootstrap's own
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "onward: $*" >&2; }

name=${1:-onward:dev}
shift || true

# The client may be there without an engine, so the engine is asked.
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    build=(docker build)
elif command -v buildah >/dev/null; then
    # chroot: needs no rights over namespaces, so it also builds within a container. docker: the format that keeps HEALTHCHECK.
    build=(buildah build --layers --isolation chroot --format docker)
else
    say "neither a Docker engine that answers nor buildah is there; install one of them (Debian: apt-get install buildah)"
    exit 1
fi

# Python and venv are all that the Dockerfile asks of its base; the compiler is the builder stage's own.
make_base() {
    local image=$1 work container
    command -v debootstrap >/dev/null || { say "debootstrap is missing; apt-get install debootstrap"; exit 1; }
    [[ ${build[0]} == buildah ]] || { say "BASE=debootstrap is for buildah; a Docker engine can pull the default base"; exit 1; }
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder is meant as it is now
    trap "rm -rf --one-file-system '$work'" EXIT
    say "making $image with debootstrap; a minute or two"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$work/root" \
        ${MIRROR:+"$MIRROR"} >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    container=$(buildah from scratch)
    buildah copy --quiet "$container" "$work/root" / >/dev/null
    buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --rm "$container" "$image" >/dev/null
    # The build below takes this process' place, and then nothing is trapped.
    rm -rf --one-file-system "$work"
    trap - EXIT
}

if [[ ${BASE:-} == debootstrap ]]; then
    BASE=localhost/onward-base:bookworm
    buildah inspect --type image "$BASE" >/dev/null 2>&1 || make_base "$BASE"
fi

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)

say "building $name with ${build[0]}"
exec "${build[@]}" ${BASE:+--build-arg "BASE=$BASE"} \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --tag "$name" "$@" .
