#!/usr/bin/env bash
# Installs Hallmark from the action's own checkout, every version pinned, and puts it on PATH.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
sh "$root/requirements/install.sh"
echo "$root/.venv/bin" >>"$GITHUB_PATH"
