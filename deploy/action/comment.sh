#!/usr/bin/env bash
# Comments the verdict on the pull request: updates the comment that this policy made before.
# A comment that cannot be written is a warning: the verdict does not hang on it.
set -euo pipefail

# One comment for each policy and alias; the digest keeps their names out of the markup.
name=$(printf '%s\n' "$GATE_POLICY $GATE_AGAINST" | sha256sum | cut -c1-16)
marker="<!-- hallmark-gate $name -->"
body=$(mktemp)
trap 'rm -f "$body"' EXIT

{
    echo "$marker"
    if [ -n "$GATE_REPORTS" ]; then
        # The table, the reasons and the advice; what follows is a section for each entry.
        awk '/^## / { part = ($0 == "## Why" || $0 == "## Where to look next") } NR == 1 { part = 1 } part' \
            "$GATE_REPORTS/report.md"
    else
        printf '# %s: nothing was judged\n' "$GATE_VERDICT"
    fi
    printf '\n[Log, full report and artifacts](%s/%s/actions/runs/%s)\n' \
        "$GITHUB_SERVER_URL" "$GITHUB_REPOSITORY" "$GITHUB_RUN_ID"
} | head -c 60000 >"$body" # a comment holds 65,536 characters

warn() { echo "::warning title=Hallmark gate::the pull request could not be commented on: $1"; }

comments="repos/$GITHUB_REPOSITORY/issues/$GATE_PULL_REQUEST/comments"
if ! earlier=$(gh api --paginate "$comments" --jq ".[] | select(.body | startswith(\"$marker\")) | .id"); then
    warn "its comments cannot be read"
    exit 0
fi
earlier=${earlier%%$'\n'*}
if [ -n "$earlier" ] && gh api --silent --method PATCH \
    "repos/$GITHUB_REPOSITORY/issues/comments/$earlier" --field "body=@$body"; then
    exit 0
fi
gh api --silent --method POST "$comments" --field "body=@$body" ||
    warn "the token needs pull-requests: write, which a fork's does not have"
