#!/bin/bash
# Provides the tools that tests need if this machine lacks them.
# promtool and prometheus are extracted from Debian's package into .venv/bin, without a service.
# The tools for the image are installed, as root. Without a tool its tests are skipped with a reason.
set -euo pipefail
bin="$(dirname "$0")/../.venv/bin"
have() { command -v "$1" > /dev/null || [[ -x "$bin/$1" ]]; }

image_tools=(podman runc buildah mmdebstrap)
if ! have podman || ! have runc || ! have mmdebstrap; then
    if [[ $EUID -eq 0 ]] && command -v apt-get > /dev/null; then
        echo "installing ${image_tools[*]} for the tests of the container image"
        install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${image_tools[@]}" > /dev/null 2>&1; }
        install || { apt-get update -qq > /dev/null && install; } || echo "installation failed: tests of the container image will be skipped"
    else
        echo "${image_tools[*]} are missing, and only root can install them: tests of the container image will be skipped"
    fi
fi
have promtool && have prometheus && exit 0

if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null; then
    echo "promtool and prometheus are missing, and there is no apt-get: their tests will be skipped"
    exit 0
fi
echo "downloading the package prometheus for promtool (20 MB)"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
fetch() { (cd "$folder" && apt-get download -qq prometheus > fetched 2>&1); }
if ! fetch && { [[ $EUID -ne 0 ]] || ! apt-get update -qq > /dev/null || ! fetch; }; then
    cat "$folder/fetched" >&2
    echo "download failed: tests that need promtool will be skipped"
    exit 0
fi
dpkg-deb --extract "$folder"/prometheus_*.deb "$folder"
mkdir -p "$bin"
cp "$folder/usr/bin/promtool" "$folder/usr/bin/prometheus" "$bin/"
