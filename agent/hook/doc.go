// Package hook runs the commands that an administrator has a set of definitions
// tested with, and tells what their end says: that the set is good, that it is
// condemned, or that the hook itself is at fault, which says nothing of the set.
//
// Exit code 0 is good and 1 condemns. Every other end is the hook's own fault:
// that it can't be run, another exit code, a signal (the kernel's, when memory
// runs out, too), a timeout, and processes that it leaves behind, whatever it
// ended with. A program that ends with 1 when it fails itself, as interpreters
// do, needs a script around it that tells the two apart.
//
// It promises that a hook is run without a shell, from the directory /, with an
// empty standard input, an environment of five variables and no descriptor of
// this process; that nothing it does fills the memory of this process; and that
// Run returns within a second after the timeout or the end of its context, even
// where the hook can't be killed or something of it still holds its output.
//
// Each of its processes may have so much private memory and no more, and none
// may write a core file. The limit is set on what already runs, since only what
// runs can be given one from outside: what the hook takes in the first instant
// stays with it, but it gets no more, and neither does any process that it
// started by then. It is also what the kernel kills first when the whole machine
// has no memory left, as far as the kernel lets us ask for that.
//
// What is left of a hook is looked for in its process group and, beyond that,
// among the processes that started after it and still carry its environment. A
// process that left the group and took another environment is not found; in a
// unit of systemd's it ends with the unit. So does a hook whose agent was killed.
// Nothing is ever killed that is not known to come from the hook.
package hook
