// Package check looks at a mirror from outside, as its owner wants to see it: what
// lies in each ring for each architecture, whether endpoints would take it, and
// what is to be mended, worst first.
//
// # What is promised
//
// Nothing is changed anywhere, and nothing large is read: of a package only its
// end, where directory and signed list lie, unless the whole is asked for. Where a
// server knows no ranges, only a package that is as small as such an end is read.
// Asked for the whole, each file is hashed as an endpoint would, in constant memory.
//
// What a server sends is bounded by package source before it is read, and judged
// by package verifier, with the codes that endpoints give. What follows from what
// was seen is a pure function. A [Finding] has a code of a closed list ([Codes]),
// and its sentence holds no bytes from outside.
//
// Any mirror will do, also one with the vendor's own packages, which have no
// signed list: then manifest, size, age and the archive's structure are reported.
//
// # What is not promised
//
// Without trust nothing is judged: the versions are what somebody wrote down. The
// vendor's own signatures are not looked at. What a machine has accepted before, its
// pins, and what it revoked earlier are not known here, so an endpoint may still
// refuse what is good in general. A mirror that changes while it is looked at is
// looked at twice, and may change a third time. On a dead network
// mount the check gives up when its time is over, and leaves behind what blocks in
// the kernel; of what it had seen by then nothing is told.
package check
