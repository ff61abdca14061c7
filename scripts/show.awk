# Reads the output of `go test -v` and shows what people need: each package's
# result, what was skipped and why, and everything about what failed.
function flush() { for (i = 1; i <= held; i++) print lines[i] }
/^=== (RUN|PAUSE|CONT|NAME)/ { next }
# A skip says what was missing, in a line of its own before or behind the mark.
/^ +[a-z_0-9]+\.go:[0-9]+: .*(SKIPPED|MISSING)/ || /^ *--- SKIP/ { print; next }
/^ *--- FAIL|^FAIL|^panic:|DATA RACE|^SIGQUIT/ { if (!failed) { flush(); failed = 1 } print; next }
/^ok |^\? / { held = 0; failed = 0; print; next }
/^ *--- PASS|^PASS/ { next }
failed { print; next }
{ lines[++held] = $0; if (held > 100000) held = 0 }
