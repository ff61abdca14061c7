// Package chaos proves the agent on a file system: it kills an update at every
// system call that touches files or the network, makes every such call fail with
// every error that it can give, and looks each time whether what readers saw, what
// is left, and what the next run makes of it is as it must be.
//
// A scenario is a command on a prepared machine below a directory, whose mirror is
// a server in this process. A run without a fault lists its points. Then each
// point has runs of its own, on a fresh copy of the machine: one that is killed
// there, and one for each error number. After each the invariants of package
// invariant must hold, and one plain run of the same command must lead to where
// the scenario leads, with nothing left over.
//
// The scenarios under a profile of trust that asks for a vendor's signatures need a
// [Vendor], which only tests have.
//
// It promises that each point that it lists was reached, or it says which were
// not: how much one read from a socket brings differs from run to run. It does
// not show what a disk loses when the power goes; a kill leaves the kernel alive.
package chaos
