// Package engine keeps the directory that the scanning engine reads its
// definitions from: whole sets, side by side, and two symlinks that name the
// active one and the one before it.
//
//	current  -> 1.407.418.0-5d41402a      the active set
//	previous -> 1.407.417.0-9b74c989      the set to go back to
//	1.407.418.0-5d41402a/                 a sealed set, never changed again
//	    mpavbase.vdm ...  META/package.p7m
//	.staging/                             0700: bytes that nobody may use yet
//
// A set takes shape below .staging ([Dir.Stage], [Staging.Write],
// [Staging.Reuse]), is sealed and renamed into place ([Dir.Seal]), and becomes
// the active one ([Dir.Activate]). The rename of current is the one commit
// point. The package decides nothing about trust or versions: it is handed a
// list that was verified and streams that were not, and keeps of the streams
// only what the list names, by size and SHA-256.
//
// # What is promised
//
//   - Unverified bytes never leave .staging. A set is renamed out of it only
//     when it holds exactly the files of its list.
//   - A reader that resolves current once and opens everything relative to what
//     it found sees one whole set, however often current is exchanged meanwhile.
//   - When [Dir.Activate] has returned, the set is on the disk: files, META, the
//     set, .staging and the engine directory are synced before current is
//     renamed, and the engine directory again after it.
//   - A crash at any point leaves the old set or the new one active, whole. What
//     it leaves behind besides is put right by the next run ([Dir.Clean],
//     [Dir.Seal]), without help.
//   - A file that is repaired or exchanged gets a new inode. What somebody has
//     open or mapped never changes below them.
//   - Room is checked before the first byte is written ([Dir.Room]).
//
// # What is not promised
//
//   - Power that fails before Activate has returned may bring back the old set.
//   - A sync is worth what the disk below it makes of it. On NFS a rename is
//     atomic on the server, while other clients may see the old name for the
//     time of their attribute cache; a file system that can't sync a directory
//     is taken without.
//   - Two writers at once: the caller holds a lock, for everything but reading.
//   - Root, and the owner of the directory, can change any file at any time.
//     [Set.Check] finds that, and nothing here prevents it.
//
// It runs on Linux only: reflinks, unnamed files and linking by descriptor are
// Linux's own.
package engine
