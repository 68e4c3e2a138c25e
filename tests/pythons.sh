#!/bin/bash
# Unit, component and docs tests on every supported Python of this machine besides the one of .venv.
# Looks on the PATH and in pyenv; a version that is not there is named and left out.
set -euo pipefail
cd "$(dirname "$0")/.."
supported=(3.11 3.12 3.13 3.14)
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

for version in "${supported[@]}"; do
    [[ "$version" == "$own" ]] && continue
    python=$(interpreter "$version")
    if [[ -z "$python" ]]; then
        echo "Python $version is not on this machine"
        continue
    fi
    place=.venv/pythons/$version
    if [[ ! requirements-dev.txt -ot "$place/.ready" ]]; then
        echo "setting up $place: the packages pinned in requirements-dev.txt, a minute or two"
        "$python" -m venv "$place"
        "$place/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
        "$place/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
        touch "$place/.ready"
    fi
    echo "unit, component and docs tests on Python $version"
    "$place/bin/python" -m pytest -n "${WORKERS:-2}" --dist loadgroup tests/unit tests/component tests/docs
done
