package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

const (
	malformed  = "package_malformed"
	notPackage = "not_a_package"
	mismatch   = "content_mismatch"
)

// Why other programs take what is refused here.
const (
	namesDiffer  = "both list and extract such an entry, and the second overwrites the first or stands beside it"
	theyClean    = "they change or ignore such a name when they extract"
	modesIgnored = "they test the content and make what the mode says only when they extract"
	theyScan     = "they look for the end record and for the first header, and take what stands before or between them for another program's"
	theyTrustDir = "they go by the directory"
	nobodyLooks  = "they check each entry by itself and know no list"
	ourSubset    = "it is good zip, and outside of the subset in which no two programs can differ"
)

type structure struct {
	name, what        string
	bytes             []byte
	verdict, sentence string
	unzip, python     string
	differs           string
}

func (s structure) vector(prefix string) vector {
	return vector{name: prefix + s.name, what: s.what, archive: s.bytes, verdict: s.verdict, sentence: s.sentence, unzip: s.unzip, python: s.python, differs: s.differs}
}

// signedList is the entry of the ordinary list.
func signedList() entry { return plain(listName, string(ordinary().encode())) }

// listFor is the entry of a list that names exactly these files.
func listFor(files ...entry) entry {
	text := string(list())
	var rows []string
	for _, f := range files {
		rows = append(rows, fmt.Sprintf(`{"name": %q, "size": %d, "sha256": "%x"}`, f.name, len(f.data), sum(f.data)))
	}
	data := text[:strings.Index(text, `"files"`)] + `"files": [` + strings.Join(rows, ", ") + "]}\n"
	return plain(listName, string(signedBy(leaf, []byte(data), intermediate).encode()))
}

// archives are about the layout of the archive.
func archives() (out []vector) {
	c := content()
	all := append(content(), signedList())
	withLast := func(edit func(*entry)) []byte { // of the content
		return archive(c[0], c[1], c[2].with(edit), signedList())
	}
	named := func(name string) []byte { return archive(c[0], c[1], plain(name, "delta\n"), signedList()) }
	mode := func(bits uint32) []byte { return withLast(func(e *entry) { e.attributes = bits }) }
	whole := func(l layout) []byte {
		if l.entries == nil {
			l.entries = all
		}
		return l.bytes()
	}
	end := func(edit func([]byte)) []byte { return whole(layout{end: edit}) }
	dir := func(edit func(h []byte)) []byte { return withLast(func(e *entry) { e.dir = edit }) }
	local := func(edit func(h []byte)) []byte { return withLast(func(e *entry) { e.local = edit }) }
	inner := archive(plain("evil.so", "evil\n"))
	good0 := archive(all...)
	streamed := func(e entry) entry {
		return e.with(func(e *entry) { e.flags |= descriptorFlag; e.behind = e.descriptor() })
	}
	const plainFile, gaps, headers = "neither a plain file", "without gaps or overlaps", "own header does not agree"
	many := func(n int) []byte {
		var entries []entry
		for i := range n {
			entries = append(entries, entry{name: fmt.Sprintf("f%02d", i)})
		}
		return archive(append(entries, signedList())...)
	}
	for _, s := range []structure{
		{"good", "nothing is wrong", good0, good, "", good, good, ""},
		{"good-deflated", "the files are deflated", archive(c[0].with(asDeflated), c[1].with(asDeflated), c[2].with(asDeflated), signedList()), good, "", good, good, ""},
		{"good-other-order", "the files stand in another order than in the list", archive(c[2], c[0], c[1], signedList()), good, "", good, good, ""},
		{"good-no-crc", "the CRCs are wrong in both headers, and nobody computes them", withLast(func(e *entry) {
			e.local = func(h []byte) { put32(h[14:], 0) }
			e.dir = func(h []byte) { put32(h[16:], 0) }
		}), good, "", refused, refused, "the SHA-256 of the signed list decides about the content, and a CRC protects from no attacker"},

		{"same-name", "two entries of one name", archive(c[0], c[1], c[1].with(func(e *entry) { e.data = []byte("evil\n") }), signedList()), malformed, "two entries have one name", good, good, namesDiffer},
		{"same-name-by-case", "two entries whose names differ in case", named("MPAVBASE.VDM"), malformed, "two entries have one name", good, good, namesDiffer},
		{"symlink", "an entry is a symlink by its mode", mode(0o120777 << 16), malformed, plainFile, good, good, modesIgnored},
		{"device", "an entry is a device by its mode", mode(0o020666 << 16), malformed, plainFile, good, good, modesIgnored},
		{"fifo", "an entry is a FIFO by its mode", mode(0o010666 << 16), malformed, plainFile, good, good, modesIgnored},
		{"directory-mode", "an entry is a directory by its mode and a file by its name", mode(0o040755 << 16), malformed, plainFile, good, good, modesIgnored},
		{"setuid", "an entry has the setuid bit, which is not taken over", mode(0o104755 << 16), good, "", good, good, ""},
		{"absolute", "an absolute name", named("/etc/cron.d/evil"), malformed, plainFile, good, good, theyClean},
		{"parent", "a name that leads out of the directory", named("../mpavdlta.vdm"), malformed, plainFile, good, good, theyClean},
		{"inner-parent", "a name with .. inside", named("a/../mpavdlta.vdm"), malformed, plainFile, good, good, theyClean},
		{"nul", "a NUL in a name", named("mpavdlta.vdm\x00.txt"), malformed, plainFile, good, good, "they end the name at the NUL"},
		{"backslash", "backslashes in a name", named(`..\mpavdlta.vdm`), malformed, plainFile, good, good, theyClean},
		{"drive", "a drive in a name", named("C:mpavdlta.vdm"), malformed, plainFile, good, good, theyClean},
		{"hidden-name", "a name with a leading dot", named(".mpavdlta.vdm"), malformed, plainFile, good, good, ourSubset},
		{"not-ascii", "a name with a byte beyond ASCII", named("mp\x84vdlta.vdm"), malformed, plainFile, good, good, "they read it in the character set that they think of, which is not the same"},
		{"empty-name", "a name of no characters", named(""), malformed, plainFile, good, good, ourSubset},
		{"directory-entry", "an entry for a directory, beside a list inside", archive(c[0], c[1], c[2], entry{name: "dir/", attributes: 0o40755<<16 | 0x10}, signedList()), malformed, "neither the signed list nor a flat file", good, good, ourSubset},
		{"file-in-directory", "a file in a directory", named("dir/mpavdlta.vdm"), malformed, "neither the signed list nor a flat file", good, good, ourSubset},

		{"hidden-between", "bytes between two entries", withLast(func(e *entry) { e.before = []byte("hidden") }), malformed, "extra fields or a data descriptor", good, good, theyScan},
		{"hidden-before-first", "bytes before the first entry, counted in the offsets", archive(c[0].with(func(e *entry) { e.before = []byte("#!/bin/sh\n") }), c[1], c[2], signedList()), malformed, gaps, good, good, theyScan},
		{"hidden-in-front", "bytes before the first entry, not counted in the offsets", whole(layout{before: []byte("#!/bin/sh\n")}), malformed, "does not end where its end record begins", warned, good, theyScan},
		{"hidden-before-directory", "bytes before the directory", whole(layout{gap: []byte("hidden")}), malformed, "extra fields or a data descriptor", good, good, theyScan},
		{"hidden-before-end", "bytes between directory and end record", whole(layout{beforeEnd: []byte("hidden")}), malformed, "does not end where its end record begins", refused, refused, ""},
		{"hidden-behind", "bytes behind the end record", whole(layout{behind: []byte("hidden")}), malformed, "something stands behind the archive's end record", good, good, theyScan},
		{"comment", "a comment of the archive", whole(layout{comment: []byte("hello")}), malformed, "something stands behind the archive's end record", good, good, ourSubset},
		{"archive-in-comment", "a whole archive in the comment, so that two end records can be found", whole(layout{comment: inner}), malformed, "does not end where its end record begins", warned, good, "which of the two archives they find is chance"},
		{"archive-behind", "two archives in one file", slices.Concat(good0, inner), malformed, "does not end where its end record begins", warned, good, theyScan},
		{"entry-comment", "an entry has a comment", withLast(func(e *entry) { e.comment = []byte("hello") }), malformed, "comment or lies on another disk", good, good, ourSubset},
		{"overlap", "an entry begins inside the one before it", dir(func(h []byte) { put32(h[42:], 40) }), malformed, gaps, refused, refused, ""},
		{"same-offset", "two entries share one place", dir(func(h []byte) { put32(h[42:], 0) }), malformed, gaps, refused, refused, ""},
		{"offset-beyond", "an entry lies beyond the end of the file", dir(func(h []byte) { put32(h[42:], 1<<30) }), malformed, gaps, refused, refused, ""},
		{"directory-order", "the directory has the entries in another order than the file", whole(layout{dirOrder: []int{1, 0, 2, 3}}), malformed, gaps, good, good, ourSubset},
		{"no-local-header", "an entry is in the directory only", archive(c[0], c[1], c[2].with(func(e *entry) { e.noLocal = true }), signedList()), malformed, gaps, refused, refused, ""},
		{"not-in-directory", "an entry is in the file and not in the directory", whole(layout{dirOrder: []int{0, 1, 3}}), malformed, "extra fields or a data descriptor", good, good, theyTrustDir},

		{"local-name", "the local header has another name", withLast(func(e *entry) { e.localName = "mpavevil.vdm" }), malformed, headers, warned, refused, "unzip warns and takes the name in the directory"},
		{"local-name-longer", "the local header has a longer name", withLast(func(e *entry) { e.localName = "mpavdlta.vdm.longer" }), malformed, "extra fields or a data descriptor", warned, refused, "unzip warns and takes the name in the directory"},
		{"local-size", "the local header has another size", local(func(h []byte) { put32(h[22:], 1) }), malformed, headers, warned, good, "Python goes by the directory, unzip by the local header, so they read two packages out of one file"},
		{"local-compressed-size", "the local header has another compressed size", local(func(h []byte) { put32(h[18:], 1) }), malformed, headers, refused, good, "Python goes by the directory, unzip by the local header, so they read two packages out of one file"},
		{"local-crc", "the local header has another CRC", local(func(h []byte) { put32(h[14:], 1) }), malformed, headers, refused, good, "Python goes by the directory, unzip by the local header, so they read two packages out of one file"},
		{"local-method", "the local header has another method", local(func(h []byte) { put16(h[8:], deflate) }), malformed, headers, refused, good, "Python goes by the directory, unzip by the local header, so they read two packages out of one file"},
		{"local-flags", "the local header says that the entry is encrypted", local(func(h []byte) { put16(h[6:], encryptedFlag) }), malformed, headers, good, good, theyTrustDir},
		{"local-magic", "the local header is none", local(func(h []byte) { put32(h, 0) }), malformed, headers, refused, refused, ""},
		{"local-extra-beyond", "the local header's extra field leads beyond the file", local(func(h []byte) { put16(h[28:], 65535) }), malformed, headers, refused, refused, ""},
		{"encrypted", "an entry is encrypted, as both headers say", withLast(func(e *entry) { e.flags = encryptedFlag }), malformed, "encrypted or needs a newer version", refused, refused, ""},
		{"strong-encryption", "an entry is strongly encrypted, as both headers say", withLast(func(e *entry) { e.flags = 1 << 6 }), malformed, "encrypted or needs a newer version", good, refused, "unzip does not know the flag, Python does"},
		{"masked-headers", "an entry's header is masked, as both headers say", withLast(func(e *entry) { e.flags = 1 << 13 }), malformed, "encrypted or needs a newer version", good, good, "they do not know the flag"},
		{"crc-zero", "the directory has no CRC, which turns the check off in some programs", dir(func(h []byte) { put32(h[16:], 0) }), malformed, headers, good, refused, "unzip takes a CRC of zero in the directory for none, Python compares it with the content"},
		{"zip64-end", "a zip64 end record and its locator", whole(layout{beforeEnd: zip64End()}), malformed, "does not end where its end record begins", good, good, ourSubset},
		{"zip64-sizes", "the sizes are in a zip64 extra field", withLast(func(e *entry) {
			e.dir = func(h []byte) { put32(h[20:], 1<<32-1, 1<<32-1); put16(h[6:], 45) }
			e.dirExtra = zip64Sizes(6)
		}), malformed, "newer version", good, good, ourSubset},
		{"zip64-version", "an entry says that it needs zip64", dir(func(h []byte) { put16(h[6:], 45) }), malformed, "newer version", good, good, ourSubset},
		{"disk-number", "the end record is on another disk", end(func(r []byte) { put16(r[4:], 1) }), malformed, "split into parts", warned, good, "unzip warns, Python does not look"},
		{"directory-disk", "the directory begins on another disk", end(func(r []byte) { put16(r[6:], 1) }), malformed, "split into parts", good, good, "they do not look"},
		{"entry-disk", "an entry lies on another disk", dir(func(h []byte) { put16(h[34:], 1) }), malformed, "comment or lies on another disk", good, good, theyTrustDir},
		{"counts-differ", "the end record has two counts of entries", end(func(r []byte) { put16(r[8:], 3) }), malformed, "split into parts", good, good, "they look at one of the two counts, or at neither"},
		{"count-less", "the end record has one entry less", end(func(r []byte) { put16(r[8:], 3, 3) }), malformed, "belong to no entry", refused, good, "Python reads the directory to its end, unzip counts"},
		{"count-more", "the end record has one entry more", end(func(r []byte) { put16(r[8:], 5, 5) }), malformed, "directory is damaged", refused, good, "Python reads the directory to its end, unzip counts"},
		{"count-none", "the end record has no entry", end(func(r []byte) { put16(r[8:], 0, 0) }), malformed, "1 to 64 entries", refused, good, "Python reads the directory to its end, unzip counts"},
		{"empty", "an archive without an entry", archive(), malformed, "1 to 64 entries", warned, good, "an empty archive is good zip, and no package"},
		{"64-entries", "as many entries as may be, of which the list knows none", many(63), mismatch, "lacks a file", good, good, nobodyLooks},
		{"65-entries", "one entry more than may be", many(64), malformed, "1 to 64 entries", good, good, "the bound is this format's own"},
		{"directory-size", "the directory is a byte shorter than it is", end(func(r []byte) { put32(r[12:], uint32(dirSize(all)-1)) }), malformed, "does not end where its end record begins", refused, refused, ""},
		{"directory-offset", "the directory begins a byte earlier than it does", end(func(r []byte) { put32(r[16:], uint32(len(good0)-22-dirSize(all)-1)) }), malformed, "does not end where its end record begins", refused, refused, ""},
		{"directory-beyond", "the directory lies beyond the end of the file", end(func(r []byte) { put32(r[16:], 1<<31) }), malformed, "does not end where its end record begins", refused, refused, ""},
		{"directory-magic", "the directory's first header is none", archive(c[0].with(func(e *entry) { e.dir = func(h []byte) { put32(h, 0) } }), c[1], c[2], signedList()), malformed, "directory is damaged", refused, refused, ""},
		{"directory-name-length", "a name in the directory is longer than the directory", dir(func(h []byte) { put16(h[28:], 60000) }), malformed, "directory is damaged", refused, refused, ""},
		{"descriptor", "data descriptors, beside a list inside", archive(streamed(c[0]), streamed(c[1]), streamed(c[2]), signedList()), malformed, "extra fields or a data descriptor", good, good, ourSubset},
		{"extra-local", "extra fields in a local header, beside a list inside", withLast(func(e *entry) { e.localExtra = []byte{0, 0, 0, 0} }), malformed, "extra fields or a data descriptor", good, good, ourSubset},
		{"extra-directory", "extra fields in the directory, beside a list inside", withLast(func(e *entry) { e.dirExtra = []byte{0, 0, 0, 0} }), malformed, "extra fields or a data descriptor", good, good, ourSubset},
		{"list-not-last", "the list is not the last entry", archive(c[0], signedList(), c[1], c[2]), malformed, "not the archive's last entry", good, good, ourSubset},
		{"list-first", "the list is the first entry", archive(signedList(), c[0], c[1], c[2]), malformed, "not the archive's last entry", good, good, ourSubset},
		{"list-deflated", "the list is deflated", archive(c[0], c[1], c[2], signedList().with(asDeflated)), malformed, "not stored but compressed", good, good, ourSubset},
		{"list-too-large", "the list has a byte more than 64 KiB, of which only the directory knows", archive(c[0], c[1], c[2], signedList().with(func(e *entry) {
			e.dir = func(h []byte) { put32(h[20:], 65537, 65537) }
		})), malformed, gaps, good, refused, "unzip reads the size in the local header, Python that in the directory"},
		{"two-lists", "two entries are the list", archive(c[0], c[1], c[2], plain(listName, "evil"), signedList()), malformed, "two entries have one name", good, good, namesDiffer},
		{"two-lists-by-case", "two entries are the list, if case does not count", archive(c[0], c[1], c[2], plain("meta/package.p7m", "evil"), signedList()), malformed, "two entries have one name", good, good, namesDiffer},
		{"list-in-lower-case", "the list's name in lower case", archive(c[0], c[1], c[2], plain("meta/package.p7m", string(ordinary().encode()))), malformed, "not the archive's last entry", good, good, ourSubset},
		{"beside-the-list", "another file beside the list in META", archive(c[0], c[1], c[2], plain("META/evil", "evil"), signedList()), malformed, "neither the signed list nor a flat file", good, good, ourSubset},
		{"unsigned", "no list", archive(c...), missing, "no signed list", good, good, nobodyLooks},
		{"web-page", "a web page in the place of the archive", []byte("<html><body>Please log in</body></html>\n" + strings.Repeat(" ", 2048)), notPackage, "not a zip archive", refused, refused, ""},
		{"nothing", "an empty file", []byte{}, notPackage, "not a zip archive", refused, refused, ""},
		{"cut", "the archive is cut in its middle", good0[:len(good0)/2], notPackage, "not a zip archive", refused, refused, ""},
		{"cut-by-a-byte", "the last byte is missing", good0[:len(good0)-1], malformed, "something stands behind the archive's end record", refused, refused, ""},
		{"cut-in-front", "the first byte is missing", good0[1:], malformed, "does not end where its end record begins", refused, refused, ""},
		{"gzip", "a gzip file", append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3}, bytes.Repeat([]byte{0}, 64)...), notPackage, "not a zip archive", refused, refused, ""},
		{"overlapped-bomb", "an overlapped bomb: 62 entries share the bytes of one, each of which inflates to a thousand times its size", overlapped(), malformed, gaps, refused, refused, ""},
	} {
		out = append(out, s.vector("archive-"))
	}
	return out
}

func asDeflated(e *entry) { e.method = deflate }

// dirSize is the size of a directory of plain entries.
func dirSize(entries []entry) (n int) {
	for _, e := range entries {
		n += 46 + len(e.name)
	}
	return n
}

// zip64End is a zip64 end record and its locator, of an archive like the ordinary one.
func zip64End() []byte {
	record := make([]byte, 56)
	copy(record, "PK\x06\x06")
	put32(record[4:], 44)
	put16(record[12:], 45, 45)
	entries := append(content(), signedList())
	start := len(archive(entries...)) - 22 - dirSize(entries)
	put32(record[24:], uint32(len(entries)))
	put32(record[32:], uint32(len(entries)))
	put32(record[40:], uint32(dirSize(entries)))
	put32(record[48:], uint32(start))
	locator := make([]byte, 20)
	copy(locator, "PK\x06\x07")
	put32(locator[8:], uint32(start+dirSize(entries)))
	put32(locator[16:], 1)
	return append(record, locator...)
}

// zip64Sizes is the extra field that has both sizes of a stored entry.
func zip64Sizes(size uint32) []byte {
	extra := make([]byte, 20)
	put16(extra, 1, 16)
	put32(extra[4:], size)
	put32(extra[12:], size)
	return extra
}

// overlapped is an archive of many directory entries with one local header.
func overlapped() []byte {
	kernel := plain("f00", "").with(func(e *entry) { e.method, e.raw, e.size = deflate, zeroBomb(1000), 1+1000*258 })
	entries := []entry{kernel}
	for i := range 61 {
		entries = append(entries, kernel.with(func(e *entry) {
			e.name, e.noLocal = fmt.Sprintf("f%02d", i+1), true
			e.dir = func(h []byte) { put32(h[42:], 0) }
		}))
	}
	return archive(append(entries, signedList())...)
}
