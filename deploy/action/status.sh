#!/usr/bin/env bash
# Passes or fails the job by the verdict, with one line that says which it was.
set -euo pipefail

say() { echo "::$1 title=Hallmark gate: ${GATE_VERDICT:-ERROR}::$2"; }

case ${GATE_VERDICT:-ERROR} in
PASS)
    say notice "every required entry passed"
    exit 0
    ;;
FAIL)
    say error "a required entry is worse than the policy accepts; the summary names it"
    exit 1
    ;;
INCONCLUSIVE)
    said="the items do not decide it, which is no pass; hallmark plan says how many would"
    if [ "$GATE_INCONCLUSIVE" = neutral ]; then
        say warning "$said"
        exit 0
    fi
    say error "$said"
    exit 2
    ;;
INVALID)
    say error "the evidence is missing or not comparable; the summary says what to measure again"
    exit 3
    ;;
*)
    say error "hallmark gate judged nothing (exit code ${GATE_EXIT_CODE:-unknown}); its log says why"
    exit 4
    ;;
esac
