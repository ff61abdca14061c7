// Package apart reads sources in a process of its own. What faces a server or
// somebody's file system, be it the resolver, TLS, HTTP or a mount that does not
// answer, is then a program that has nothing to lose: the same binary, started
// anew for each object that is opened, which gets its orders by a socket, gives
// bytes back, and is killed when the object is closed.
//
// [Source] is the agent's end, a source like any other. [Serve] is the other end,
// and a program that opens a Source must call it where [Started] says so.
//
// What the package promises:
//
//   - The process can write nothing, start nothing and, but for the public files of
//     the name service and of the system's authorities, open nothing. One that reads a
//     directory opens its one file before anything is read, and nothing, no network
//     either, afterwards.
//     That is as far as the kernel can do it; [Confinement] says what is in force.
//   - What was configured in secret reaches it neither by arguments nor by its
//     environment, and it inherits nothing that the agent has open.
//   - What it says is believed no more than a server: lengths are bounded before
//     there is memory for them, a range is exactly what was asked for, codes come
//     from the closed list, and text is made printable.
//   - Nobody waits for it: where nothing comes for too long, or the caller's
//     context ends, it is killed and left behind, even if the kernel can't end it
//     for the time being. [Unended] bounds how many of those there are.
//   - It ends with the agent, however that ends. Where the filter of system calls is
//     in force, there is nothing that it could have started.
//
// What it does not promise: that the bytes are genuine. A process that was taken
// over can still ask the network for anything while it reads from a server, can give
// content four times slower than a server could, and can lie about what
// reading has cost. Without the filter (amd64 and arm64 have it) it can make copies of
// itself, which end along with it only where the agent kills it, in its group, and
// connect to sockets of this machine that have a path; and Landlock knows TCP alone,
// and UDP from version 10 on, so that one that reads a directory is not without any
// network.
package apart
