#!/bin/bash
# Puts the tools that tests need, and this machine lacks, beside the packages in .venv/bin: promtool and prometheus, out of Debian's
# package. Nothing is installed and no service is started. Where that cannot be, the tests that need them skip and say so.
set -euo pipefail
bin="$(dirname "$0")/../.venv/bin"
have() { command -v "$1" > /dev/null || [[ -x "$bin/$1" ]]; }
have promtool && have prometheus && exit 0

if ! command -v apt-get > /dev/null || ! command -v dpkg-deb > /dev/null; then
    echo "promtool and prometheus are not here, and there is no apt-get to fetch them: tests that need them will be skipped"
    exit 0
fi
echo "fetching Debian's package prometheus, for promtool: some 20 MB"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
fetch() { (cd "$folder" && apt-get download -qq prometheus > fetched 2>&1); }
if ! fetch && { [[ $EUID -ne 0 ]] || ! apt-get update -qq > /dev/null || ! fetch; }; then
    cat "$folder/fetched" >&2
    echo "it cannot be fetched: tests that need promtool will be skipped"
    exit 0
fi
dpkg-deb --extract "$folder"/prometheus_*.deb "$folder"
mkdir -p "$bin"
cp "$folder/usr/bin/promtool" "$folder/usr/bin/prometheus" "$bin/"
