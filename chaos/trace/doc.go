// Package trace runs a program under ptrace and stops it before each system call
// that touches files or the network, so that whoever asked for it can look at
// what is on disk at that moment, kill the program there, or make the call fail.
//
// There is one count over the whole process: all threads, and every process that
// it starts. A point also has a name that stays the same from run to run although
// threads take turns: the call, the kind of thing it is about, and the how-many-eth
// of these it is.
//
// # What is promised
//
//   - A call that is stopped before has not begun. Killed there, the calls before
//     it happened, and it did not. Nothing of the tree is left after a kill.
//   - A call that is made to fail has no effect but its error number, except where
//     the caller asks for both.
//   - When [Run] has returned, every process of the tree has ended.
//
// # What is not promised
//
// While one thread is stopped others go on, until they come to a stop of their
// own. Calls that other threads began before may end after it. A process that may
// not be looked into (see proc(5), dumpable) has points without paths. A signal that
// stops a program does not stop a traced one. Unless root traces, programs gain no
// privileges by being run (see prctl(2), no_new_privs), and a filter of system calls
// (seccomp) is in force, if the kernel has one, that a program can see.
//
// It works on Linux, on amd64 and arm64, from kernel 5.3 on, and needs the right to
// trace one's own children, which some containers take away.
package trace
