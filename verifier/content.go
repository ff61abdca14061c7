package verifier

import (
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"io"
)

// CheckedReader hands on what it reads and tells at the end whether that was
// exactly the listed file. Whoever writes the bytes somewhere must not use
// them before the reader has given io.EOF.
type CheckedReader struct {
	from io.Reader
	file File
	sum  hash.Hash
	read int64
}

// NewCheckedReader checks from against f while it is read.
func NewCheckedReader(from io.Reader, f File) *CheckedReader {
	return &CheckedReader{from: from, file: f, sum: sha256.New()}
}

// Read gives io.EOF only where size and SHA-256 are the listed ones. A file
// that is longer, shorter or different gives a Refusal with content_mismatch;
// a longer one as soon as its first surplus byte is seen.
func (c *CheckedReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.read += int64(n)
	c.sum.Write(p[:n])
	if c.read > c.file.Size {
		return 0, mismatch("a file is longer than the signed list says")
	}
	if err != io.EOF {
		return n, err
	}
	if c.read < c.file.Size {
		return n, mismatch("a file is shorter than the signed list says")
	}
	if subtle.ConstantTimeCompare(c.sum.Sum(nil), c.file.SHA256[:]) != 1 {
		return n, mismatch("a file is not the one that the signed list names")
	}
	return n, io.EOF
}

func mismatch(sentence string) error {
	return refuse(ContentMismatch, sentence, "the mirror holds a damaged or altered package, so publish it there again and check it with agent package verify")
}
