#!/usr/bin/env bash
# Runs `hallmark gate` and writes its verdict, exit code and reports folder as outputs.
# Ends with 0 for every verdict: the step `Verdict` fails the job when the reports are kept.
set -euo pipefail

case $GATE_INCONCLUSIVE in
fail | neutral) ;;
*)
    echo "::error title=Hallmark gate::inconclusive is '$GATE_INCONCLUSIVE'; set it to fail or neutral"
    exit 4
    ;;
esac

mkdir -p "$HALLMARK_HOME"
started=$(mktemp)
key=$HALLMARK_HOME/keys/local.pem
placed=
cleanup() {
    rm -f "$started"
    [ -z "$placed" ] || rm -f "$placed"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -n "${GATE_SIGNING_KEY:-}" ]; then
    if [ -e "$key" ]; then
        echo "::error title=Hallmark gate::$key is there already; remove it, or leave signing-key empty"
        exit 4
    fi
    mkdir -p "$(dirname "$key")"
    placed=$key
    (umask 077 && printf '%s\n' "$GATE_SIGNING_KEY" >"$key")
fi
unset GATE_SIGNING_KEY # what measures has no use for it

extra=()
IFS=$' \t\n' read -r -d '' -a extra <<<"${GATE_EXTRA:-}" || true

code=0
hallmark gate "$GATE_CHECKPOINT" --against "$GATE_AGAINST" --policy "$GATE_POLICY" \
    ${extra[@]+"${extra[@]}"} || code=$?

case $code in
0) verdict=PASS ;;
1) verdict=FAIL ;;
2) verdict=INCONCLUSIVE ;;
3) verdict=INVALID ;;
*) verdict=ERROR ;;
esac

reports=
if [ "$verdict" != ERROR ] && [ -d "$HALLMARK_HOME/reports" ]; then
    reports=$(find "$HALLMARK_HOME/reports" -mindepth 1 -maxdepth 1 -type d -newer "$started" |
        sort | tail -n 1)
fi
# A crash can end with any code: a verdict counts only with the report that says the same.
if [ "$verdict" != ERROR ] &&
    ! grep -qs "^  \"status\": \"$verdict\"" "$reports/verdict.json"; then
    echo "::error title=Hallmark gate::exit code $code, and no report that says $verdict"
    verdict=ERROR
    reports=
fi

{
    echo "verdict=$verdict"
    echo "exit-code=$code"
    echo "reports=$reports"
    echo "artifact=hallmark-${reports##*/}"
} >>"$GITHUB_OUTPUT"

if [ -n "$reports" ]; then
    cat "$reports/report.md" >>"$GITHUB_STEP_SUMMARY"
else
    printf '# ERROR: nothing was judged\n\nhallmark gate ended with %s; its log says why.\n' \
        "$code" >>"$GITHUB_STEP_SUMMARY"
fi
