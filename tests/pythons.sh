#!/bin/bash
# Runs unit, component and docs tests on every supported Python of this machine but the one of .venv.
# The newest runs the tests of the installed program too. The script looks on the PATH and in pyenv, and names each
# version that it does not find.
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

newest=""
for version in "${supported[@]}"; do
    [[ -n $(interpreter "$version") ]] && newest=$version
done

for version in "${supported[@]}"; do
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
    tiers=(tests/unit tests/component tests/docs)
    [[ "$version" == "$newest" ]] && tiers+=(tests/program)
    echo "${tiers[*]#tests/} tests on Python $version"
    "$folder/bin/python" -m pytest -q -n "${WORKERS:-3}" --dist worksteal --hypothesis-profile=few "${tiers[@]}"
done
