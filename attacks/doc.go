// Package attacks has the attacks that a mirror, or whoever sits on the line to
// it, can try on an endpoint, as tests. It has no code but its tests.
//
// Each attack is a row of a table, in the order of the list in docs/attacks.md,
// which is made from the same table. The real program, as it is installed, runs
// against a real server on TCP that misbehaves on purpose, below a root of its
// own where a good set is installed. What is promised is checked from outside,
// by means of the test's own: the set that was active stays so, byte for byte;
// the reason and the exit code are the right ones, the same in text, in JSON and
// in the report; no file outside of .staging and of what the agent remembers has
// changed; what lies in .staging is bounded; memory and disk are bounded; the run
// ends by itself; and when the mirror is good again, the next update works.
//
// What is not tested here is what needs the machine itself to misbehave: crashes
// at every step, full disks, and power cuts.
//
// After a change of the table, `go test ./attacks -run TestDocument -update`
// writes docs/attacks.md anew. With ATTACKS_LONG=1 the attacks that move a
// gigabyte run, too.
package attacks
