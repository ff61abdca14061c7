package main

import (
	"crypto/sha256"
	"slices"
	"strings"
)

func sum(data []byte) [32]byte { return sha256.Sum256(data) }

// entries are about what an entry holds, in an archive whose layout is in order.
func entries() (out []vector) {
	c := content()
	text := plain("mpavdlta.vdm", strings.Repeat("the quick brown fox ", 8))
	stream := deflated(text.data)
	// of gives a package whose list names the first two files and text, and whose
	// archive has text as it was edited.
	of := func(edit func(*entry)) []byte {
		edited := text.with(func(e *entry) { e.method = deflate }).with(edit)
		return archive(c[0], c[1], edited, listFor(c[0], c[1], text))
	}
	longer := func(n int) func(*entry) { return func(e *entry) { e.size = len(e.data) + n } }
	const cut, hidden, size, damaged = "an entry is cut", "hidden behind an entry's content", "another size than the directory says", "compressed bytes are damaged"
	bomb := plain("mpavdlta.vdm", "").with(func(e *entry) { e.method, e.raw, e.size = deflate, zeroBomb(2000), 1024 })
	older := listFor(c[0], plain("mpavbase.vdm", "an older base\n"), c[2])
	for _, s := range []structure{
		{"good", "deflated content", of(func(*entry) {}), good, "", good, good, ""},
		{"trailing-byte", "a byte behind the end of the deflate stream", of(func(e *entry) { e.raw = append(slices.Clone(stream), 'x') }), malformed, hidden, good, good, "they stop where the stream ends"},
		{"two-streams", "two deflate streams behind each other", of(func(e *entry) { e.raw = slices.Concat(stream, stream) }), malformed, hidden, good, good, "they stop where the stream ends"},
		{"stream-cut", "the deflate stream ends early", of(func(e *entry) { e.raw = stream[:len(stream)-9] }), malformed, cut, refused, refused, ""},
		{"stream-without-end", "the deflate stream has no end of its last block", of(func(e *entry) { e.raw = stream[:len(stream)-1] }), malformed, cut, good, good, "they have the whole content before the stream ends, and stop there"},
		{"no-stream", "no byte of a deflate stream", of(func(e *entry) { e.raw = []byte{} }), malformed, cut, refused, refused, ""},
		{"stream-damaged", "a deflate stream that is none", of(func(e *entry) { e.raw = slices.Repeat([]byte{0xff}, 9) }), malformed, damaged, refused, refused, ""},
		{"longer-than-directory", "the content is longer than the directory says, and than the list", of(func(e *entry) {
			e.raw = deflated(append(slices.Clone(e.data), "and more"...))
		}), malformed, size, refused, good, "Python stops at the size in the directory, where the CRC is right; unzip reads on"},
		{"shorter-than-directory", "the content is shorter than the directory and the list say", of(func(e *entry) { e.raw = deflated(e.data[:9]) }), malformed, size, refused, refused, ""},
		{"longer-than-list", "directory and content are longer than the list says", of(func(e *entry) {
			e.data = append(slices.Clone(e.data), "and more"...)
		}), mismatch, "with another size", good, good, nobodyLooks},
		{"directory-size-greater", "the directory has a greater size than the list", of(longer(1)), mismatch, "with another size", good, good, "they stop where the stream ends, and look at the CRC"},
		{"bomb", "half a megabyte of zeros in the place of a kilobyte", archive(c[0], c[1], bomb,
			listFor(c[0], c[1], plain("mpavdlta.vdm", strings.Repeat("\x00", 1024)))), malformed, size, refused, refused, ""},
		{"other-content", "other content of the same size", of(func(e *entry) { e.data = []byte(strings.Repeat("The quick brown fox ", 8)) }), mismatch, "is not the one that the signed list names", good, good, nobodyLooks},
		{"two-exchanged", "two files have each other's content", archive(plain(c[1].name, "delta\n"), plain(c[2].name, "base!\n"), listFor(plain(c[1].name, "base!\n"), plain(c[2].name, "delta\n"))), mismatch, "is not the one that the signed list names", good, good, nobodyLooks},
		{"unlisted", "a file that the list does not name", archive(c[0], c[1], c[2], plain("evil.so", "evil\n"), signedList()), mismatch, "has a file that the signed list does not name", good, good, nobodyLooks},
		{"absent", "a file of the list is missing", archive(c[0], c[1], signedList()), mismatch, "lacks a file", good, good, nobodyLooks},
		{"renamed", "a file has another name than in the list", archive(c[0], c[1], plain("mpavdelta.vdm", "delta\n"), signedList()), mismatch, "lacks a file", good, good, nobodyLooks},
		{"name-by-case", "a file's name has another case than in the list", archive(c[0], c[1], plain("MPAVDLTA.VDM", "delta\n"), signedList()), mismatch, "lacks a file", good, good, nobodyLooks},
		{"older-member", "a file of an older signed package in a newer one", archive(c[0], plain("mpavbase.vdm", "older\n"), c[2],
			listFor(c[0], plain("mpavbase.vdm", "newer\n"), c[2])), mismatch, "is not the one that the signed list names", good, good, nobodyLooks},
		{"older-list", "the list of an older package beside the files of a newer one", archive(c[0], c[1], c[2], older), mismatch, "with another size", good, good, nobodyLooks},
		{"list-content-cut", "the stored list is cut, as both headers say", archive(c[0], c[1], c[2], signedList().with(func(e *entry) { e.data = e.data[:100] })), invalid, "not strict DER", good, good, nobodyLooks},
	} {
		out = append(out, s.vector("entry-"))
	}
	return out
}

// sidecars are about a list that lies beside its archive.
func sidecars() (out []vector) {
	c := content()
	list := ordinary().encode()
	streamed := func(e entry) entry {
		return e.with(func(e *entry) { e.flags |= descriptorFlag; e.behind = e.descriptor() })
	}
	asZipDoes := func(e entry) entry {
		return e.with(func(e *entry) {
			e.localExtra, e.dirExtra = make([]byte, 28), make([]byte, 24)
			put16(e.localExtra, 0x7875, 24) // what zip says of users
			put16(e.dirExtra, 0x7875, 20)
		})
	}
	mismatched := func(edit func([]byte)) []byte {
		return archive(c[0], c[1], streamed(c[2]).with(func(e *entry) { edit(e.behind) }))
	}
	unmarked := archive(c[0], c[1], c[2].with(func(e *entry) { e.flags |= descriptorFlag; e.behind = e.descriptor()[4:] }))
	tls := signedBy(issue("web server", &intermediate, p256("web server"), usages(1)), contentList(), intermediate).encode()
	const descriptor = "data descriptor does not agree"
	for _, s := range []struct {
		structure
		sidecar []byte
	}{
		{structure{"good", "the archive has no list, and one lies beside it", archive(c...), good, "", good, good, ""}, list},
		{structure{"good-extra-fields", "extra fields, as zip writes them", archive(asZipDoes(c[0]), asZipDoes(c[1]), asZipDoes(c[2])), good, "", good, good, ""}, list},
		{structure{"good-descriptors", "data descriptors, as zip writes them to a pipe", archive(streamed(c[0]), streamed(c[1]), streamed(c[2])), good, "", good, good, ""}, list},
		{structure{"good-bare-descriptors", "a data descriptor without its mark", unmarked, good, "", good, good, ""}, list},
		{structure{"good-directory", "an entry for a directory", archive(c[0], c[1], c[2], entry{name: "dir/", attributes: 0o40755<<16 | 0x10}), good, "", good, good, ""}, list},
		{structure{"descriptor-crc", "a data descriptor has another CRC", mismatched(func(d []byte) { d[4] ^= 1 }), malformed, descriptor, good, good, theyTrustDir}, list},
		{structure{"descriptor-size", "a data descriptor has another size", mismatched(func(d []byte) { d[12] ^= 1 }), malformed, descriptor, good, good, theyTrustDir}, list},
		{structure{"hidden-behind-descriptor", "bytes behind a data descriptor", archive(c[0], c[1], streamed(c[2]).with(func(e *entry) { e.behind = append(e.behind, "hidden"...) })), malformed, "hidden behind", good, good, theyScan}, list},
		{structure{"hidden-behind-content", "bytes behind an entry that has no data descriptor", archive(c[0], c[1], c[2].with(func(e *entry) { e.behind = []byte("hidden") })), malformed, "hidden behind", good, good, theyScan}, list},
		{structure{"other-content", "other content than the list beside it names", archive(c[0], c[1], plain("mpavdlta.vdm", "DELTA\n")), mismatch, "is not the one that the signed list names", good, good, nobodyLooks}, list},
		{structure{"unlisted", "a file that the list beside it does not name", archive(append(content(), plain("evil.so", "evil\n"))...), mismatch, "has a file that the signed list does not name", good, good, nobodyLooks}, list},
		{structure{"directory-with-content", "a directory has content", archive(c[0], c[1], c[2], entry{name: "dir/", data: []byte("evil\n"), attributes: 0o40755<<16 | 0x10}), malformed, "directory entry has content", good, good, "they make the directory and pass over the content"}, list},
		{structure{"bad-list", "the list beside it is that of a web server", archive(c...), untrusted, "not made for code signing", good, good, nobodyLooks}, tls},
		{structure{"web-page", "the list beside it is a web page", archive(c...), invalid, "not a CMS object", good, good, nobodyLooks}, []byte("<!DOCTYPE html><title>404</title>\n")},
		{structure{"empty", "the list beside it is empty", archive(c...), missing, "is empty", good, good, nobodyLooks}, []byte{}},
		{structure{"bad-inside-good-beside", "a bad list inside, and a good one beside it, which then does not count", pack(tls), untrusted, "not made for code signing", good, good, nobodyLooks}, list},
		{structure{"good-inside-bad-beside", "a good list inside, and a bad one beside it, which then does not count", pack(list), good, "", good, good, ""}, tls},
		{structure{"list-in-lower-case-inside", "something below meta/ inside, so that the list beside it does not count", archive(append(content(), plain("meta/x", "x"))...), malformed, "not the archive's last entry", good, good, nobodyLooks}, list},
	} {
		v := s.vector("sidecar-")
		v.sidecar = s.sidecar
		out = append(out, v)
	}
	return out
}

// contentList is the ordinary list, for where that name is taken.
func contentList() []byte { return list() }
