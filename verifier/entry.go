package verifier

import (
	"bufio"
	"compress/flate"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"
)

// Open reads an entry's content out of region, a stream of the archive's bytes
// from e.Offset to e.End. The local header must agree with the directory, the
// compressed bytes must end where the content ends, and a data descriptor must
// agree and be the last. What a source reports as its own error comes through
// unchanged; everything else is a Refusal with package_malformed.
//
// CRCs are not computed: the signed SHA-256 is what decides (CheckedReader). Where
// there is no list, see Summed.
func (e Entry) Open(region io.Reader) (io.Reader, error) {
	source := &sourceReader{from: io.LimitReader(region, e.End-e.Offset)}
	headerSize, err := e.checkLocal(source)
	if err != nil {
		return nil, source.cut(err)
	}
	r := &entryReader{entry: e, source: source, left: e.End - e.Offset - headerSize - e.Compressed}
	data := bufio.NewReaderSize(&io.LimitedReader{R: source, N: e.Compressed}, 64<<10)
	r.data, r.content = data, data
	if e.method == methodDeflated {
		r.content = flate.NewReader(data)
	}
	return r, nil
}

// Summed gives the content of an entry that no list vouches for. Where it is not the
// one of which the archive's directory has the CRC, reading it ends with a refusal
// (package_malformed). That shows damage, and proves nothing.
func (e Entry) Summed(content io.Reader) io.Reader {
	return &summedReader{content, crc32.NewIEEE(), e.crc}
}

type summedReader struct {
	content io.Reader
	sum     hash.Hash32
	want    uint32
}

func (r *summedReader) Read(p []byte) (int, error) {
	n, err := r.content.Read(p)
	r.sum.Write(p[:n])
	if err == io.EOF && r.sum.Sum32() != r.want {
		err = refuse(PackageMalformed, "an entry's content is damaged, since its checksum is not that of the directory", "fetch the package again, and test it with unzip -t")
	}
	return n, err
}

// sourceReader remembers the source's own error. A transfer that breaks off
// often ends in io.ErrUnexpectedEOF, just as an archive does that is cut; only
// the second is the package's fault.
type sourceReader struct {
	from io.Reader
	err  error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// cut gives the source's error where there is one, and else turns the end of
// the bytes that came too early into a refusal.
func (s *sourceReader) cut(err error) error {
	switch {
	case s.err != nil:
		return s.err
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return malformed("an entry is cut")
	}
	return err
}

// checkLocal reads the local header and gives its size in bytes.
func (e Entry) checkLocal(region io.Reader) (int64, error) {
	var h [localHeaderSize]byte
	if _, err := io.ReadFull(region, h[:]); err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	nameLen, extraLen := int(le.Uint16(h[26:])), int(le.Uint16(h[28:]))
	// What is only known at the end stands in the descriptor; zip to a pipe writes
	// the size all the same.
	agrees := func(local uint32, dir int64) bool {
		return int64(local) == dir || local == 0 && e.flags&flagDescriptor != 0
	}
	sized := agrees(le.Uint32(h[14:]), int64(e.crc)) && agrees(le.Uint32(h[18:]), e.Compressed) && agrees(le.Uint32(h[22:]), e.Size)
	if string(h[:4]) != localMagic || le.Uint16(h[6:]) != e.flags || le.Uint16(h[8:]) != e.method || nameLen != len(e.Name) || !sized {
		return 0, malformed("an entry's own header does not agree with the directory")
	}
	total := int64(localHeaderSize + nameLen + extraLen)
	if total+e.Compressed > e.End-e.Offset {
		return 0, malformed("an entry's own header does not agree with the directory")
	}
	rest := make([]byte, nameLen+extraLen) // each is below 64 KiB
	if _, err := io.ReadFull(region, rest); err != nil {
		return 0, err
	}
	if string(rest[:nameLen]) != e.Name {
		return 0, malformed("an entry's own header does not agree with the directory")
	}
	return total, nil
}

// entryReader reads content and, where it ends, checks what is behind it.
type entryReader struct {
	entry   Entry
	source  *sourceReader
	data    *bufio.Reader // the compressed bytes
	content io.Reader     // the content
	read    int64
	left    int64 // bytes of the region behind the compressed ones
	end     error // what Read gave last, once it was not nil
}

func (r *entryReader) Read(p []byte) (n int, err error) {
	if r.end == nil {
		n, r.end = r.readContent(p)
	}
	return n, r.end
}

func (r *entryReader) readContent(p []byte) (int, error) {
	n, err := r.content.Read(p)
	if r.read += int64(n); r.read > r.entry.Size {
		return 0, wrongSize() // and not all that the compressed bytes may hold
	}
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		return n, r.finish()
	}
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) && r.source.err == nil {
		return n, malformed("an entry's compressed bytes are damaged")
	}
	return n, r.source.cut(err)
}

func wrongSize() error {
	return malformed("an entry's content has another size than the directory says")
}

// finish gives io.EOF where nothing is hidden behind the content.
func (r *entryReader) finish() error {
	if _, err := r.data.ReadByte(); err == nil {
		return malformed("bytes are hidden behind an entry's content")
	} else if err != io.EOF {
		return r.source.cut(err)
	}
	if r.read != r.entry.Size {
		return wrongSize()
	}
	if r.left == 0 && r.entry.flags&flagDescriptor == 0 {
		return io.EOF
	}
	return r.checkDescriptor()
}

// checkDescriptor reads the 12 or, with its optional mark, 16 bytes behind the
// content.
func (r *entryReader) checkDescriptor() error {
	const bare, marked = 12, 16
	if r.entry.flags&flagDescriptor == 0 || r.left != bare && r.left != marked {
		return malformed("bytes are hidden behind an entry's content")
	}
	d := make([]byte, r.left)
	if _, err := io.ReadFull(r.source, d); err != nil {
		return r.source.cut(err)
	}
	mark, d := d[:len(d)-bare], d[len(d)-bare:]
	le := binary.LittleEndian
	agrees := le.Uint32(d) == r.entry.crc && int64(le.Uint32(d[4:])) == r.entry.Compressed && int64(le.Uint32(d[8:])) == r.entry.Size
	if !agrees || len(mark) > 0 && string(mark) != descriptorMagic {
		return malformed("an entry's data descriptor does not agree with the directory")
	}
	return io.EOF
}
