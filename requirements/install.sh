#!/bin/sh
# Makes .venv with everything Hallmark needs, from pinned lists. Quick when nothing changed.
# Uses what pip is configured with, and falls back to PyTorch's own CPU builds for torch.
set -eu
cd "$(dirname "$0")/.."
fail() { echo "error: $*" >&2; exit 4; }

[ "$(uname -s)" = Linux ] || fail "Hallmark's pinned packages are for Linux; this is $(uname -s)"
python=""
for candidate in python3.11 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "Python 3.11 not found on PATH; install it (Debian 12: apt-get install python3.11 python3.11-venv) and run this again"

wanted="$(cat requirements/cpu.txt requirements/uv.txt requirements/install.sh pyproject.toml | sha256sum | cut -d' ' -f1) $(pwd)"
[ -f .venv/.installed ] && [ "$(cat .venv/.installed)" = "$wanted" ] && exit 0

free_kib=$(df -Pk . | awk 'NR==2 {print $4}')
[ "$free_kib" -ge 8388608 ] || fail "8 GiB of free disk are needed here, $((free_kib / 1048576)) are left; free some and run this again"

echo "Installing into .venv (once; some minutes)"
[ -x .venv/bin/python ] || "$python" -m venv .venv || fail "cannot make a virtual environment; on Debian: apt-get install python3.11-venv"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/uv.txt ||
    fail "pip could not install uv; check the network and pip's configuration, and run this again"

configured() { .venv/bin/python -m pip config get "global.$1" 2>/dev/null || true; }
links=${PIP_FIND_LINKS:-$(configured find-links)}
index=${PIP_INDEX_URL:-$(configured index-url)}
[ -z "$links" ] || export UV_FIND_LINKS="$links"
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
# The lists are complete, so nothing is resolved: torchvision and its like, of which
# there are only CUDA builds, stay out (requirements/overrides.txt says why). They are compiled
# here once: where PYTHONDONTWRITEBYTECODE is set, as in many containers, every process would
# compile torch and transformers for itself, 14 seconds each time.
install() { .venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --no-deps "$@"; }
install -r requirements/cpu.txt 2>.venv/install.log ||
    install --torch-backend cpu -r requirements/cpu.txt 2>>.venv/install.log ||
    { tail -n 5 .venv/install.log >&2; fail "packages could not be installed (all of it: .venv/install.log); check the network and run this again"; }
install --no-build-isolation -e . || fail "Hallmark itself could not be installed; see the lines above"
echo "$wanted" >.venv/.installed
