// Package power cuts the power of real file systems.
//
// A file system is made on a loop device whose backing file is a [Disk]: memory
// that a FUSE server shows to the kernel, and that keeps every write and every
// flush in the order in which they came. Whatever runs on it is then cut off after
// the fact, at any write: [Recording.At] gives the disk as the medium held it at that moment,
// be it with all that had been written, or with only a part of what no flush had
// made last, as disks with a cache of their own leave it behind. Such a disk is
// mounted again, which makes the file system recover as after a real cut.
//
// What it promises: what a cut disk holds is something that a disk may hold which
// keeps what was flushed. Every cut can be repeated from the recording and a seed.
//
// What it does not promise: that disks which lie about flushes are like that. None
// of this knows the agent; what runs, and what must hold after, is the caller's.
//
// It needs root, loop devices, FUSE, and the tools of each file system.
package power
