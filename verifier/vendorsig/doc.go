// Package vendorsig judges the signatures that a vendor put on the files of a
// package itself, where no signed list vouches for them: Authenticode inside of PE
// files, whatever they are called, and a CMS signature beside a file, as NAME.sig.
//
// # What is promised
//
// The package is as pure as package verifier, whose [verifier.Trust] says whom to
// believe: bytes, times and trust in, a verdict out. Nothing is built in; the roots
// of time stamps come from the same place as those of signers. A file is read once,
// in constant memory, but for its headers and its signature, which are bounded.
//
// [Verify] gives no error only where every byte of the file, but the checksum and
// the two fields that say where the signature lies, is what the signer signed: the
// signature ends the file, only zeros fill it up to a multiple of eight bytes, no
// section reaches into it, and nothing stands in it that nobody signed but one
// time stamp and the certificates of those who issued the signer's, each of which
// somebody who is trusted says to be genuine. In the time stamp attribute certificates
// and revocation lists may stand as well, which nobody reads. Digests are SHA-256 and
// better, keys as strong as for signed lists.
//
// A file with a good time stamp is judged at the time that the stamp states, so it
// outlives its signer's certificate; a file without one is judged now. Revocation
// counts from now in either case, whenever it happened.
//
// A signature of another kind is named as such ([Unknown]). It is no error of
// parsing, and it is never good.
//
// # What is not promised
//
// That the signer is the vendor: this is for roots and pins to say. Of Verify: that a
// file belongs to a package, or under the name that it bears, which [Settle] and
// [Policy.Judge] see to. Page hashes are signed with the rest and not compared.
// Nested signatures, time stamps of the kind before RFC 3161, and more than one
// signature in a file are refused. What is read must not change while it is read.
package vendorsig
