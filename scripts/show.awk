# Reads the output of `go test -v` and shows what people need: each package's
# result, what was skipped and why, and everything about what failed.
function flush() { for (i = 1; i <= held; i++) print lines[i] }
/^=== (RUN|PAUSE|CONT|NAME)/ { next }
# The reason stands before the mark, or, for subtests, behind it.
/^ +[A-Za-z0-9_]+\.go:[0-9]+: / { if (skipped) { print; skipped = 0; next } reason = $0 }
/^ *--- SKIP/ { print; if (reason != "") print reason; else skipped = 1; reason = ""; next }
/^ *--- FAIL|^FAIL|^panic:|DATA RACE|^SIGQUIT/ { if (!failed) { flush(); failed = 1 } print; next }
/^ok |^\? / { held = 0; failed = 0; print; next }
/^ *--- PASS|^PASS/ { next }
failed { print; next }
{ lines[++held] = $0; if (held > 4000) held = 0 }
