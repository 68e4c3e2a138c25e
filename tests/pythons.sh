#!/bin/bash
# Runs unit and component tests on the newest supported Python of this machine that is not that of .venv.
# The script looks on the PATH and in pyenv.
set -euo pipefail
cd "$(dirname "$0")/.."
newest_first=(3.14 3.13 3.12 3.11)
own=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

interpreter() {
    local candidate
    for candidate in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if [[ -x "$candidate" ]] && "$candidate" -c 'import ssl, venv' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

for version in "${newest_first[@]}"; do
    [[ "$version" == "$own" ]] && continue
    python=$(interpreter "$version")
    if [[ -z "$python" ]]; then
        echo "Python $version is not on this machine"
        continue
    fi
    folder=.venv/pythons/$version
    if [[ ! requirements-dev.txt -ot "$folder/.ready" || ! pyproject.toml -ot "$folder/.ready" ]]; then
        echo "installing the packages of requirements-dev.txt in $folder (1 to 2 minutes)"
        "$python" -m venv "$folder"
        "$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
        "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
        touch "$folder/.ready"
    fi
    echo "unit and component tests on Python $version"
    exec "$folder/bin/python" -m pytest -q -n "${WORKERS:-3}" --dist worksteal --hypothesis-profile=few tests/unit tests/component
done
echo "no other supported Python is on this machine: its tests are not run"
