package vendorsig

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"mdatp-offline-agent/verifier/internal/cms"
)

// errNotPE: whatever it is, it does not call itself a PE file.
var errNotPE = errors.New("not a PE file")

// peFile is what matters here of the headers of a PE file (Microsoft's "PE
// Format"), and the bytes that they were read from.
type peFile struct {
	head      []byte // the first bytes of the file, in which all headers lie
	checksum  int    // offset of the checksum, 4 bytes
	directory int    // offset of the entry that says where the signature is, 8 bytes
	table     span   // that entry: the certificate table
	resources span   // by address in memory
	sections  []section
	headers   int64 // where they end
}

type span struct{ at, size int64 }

func (s span) end() int64 { return s.at + s.size }

type section struct{ memory, file span }

// signed tells whether the file says that it has a signature.
func (p *peFile) signed() bool { return p.table != span{} }

const (
	dosHeader     = 64
	coffHeader    = 24 // with the four bytes of the magic
	sectionHeader = 40
	maxSections   = 96 // as Windows has it

	// Directory entries.
	resourceEntry, certificateEntry, maxEntries = 2, 4, 16
)

// readPE reads the headers. What says that it is a PE file and then isn't one, is
// refused: Windows and we would read it differently.
func readPE(r io.ReaderAt, size int64) (*peFile, error) {
	head := make([]byte, min(size, maxHeaders))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, err
	}
	if len(head) < dosHeader || head[0] != 'M' || head[1] != 'Z' {
		return nil, errNotPE
	}
	at := int64(binary.LittleEndian.Uint32(head[60:]))
	if at > int64(len(head)-coffHeader) || !bytes.HasPrefix(head[at:], []byte("PE\x00\x00")) {
		return nil, errNotPE
	}
	if at < dosHeader {
		return nil, notBuilt()
	}
	p := &peFile{head: head}
	if err := p.read(int(at), size); err != nil {
		return nil, err
	}
	return p, nil
}

func notBuilt() error { return invalid("the file is not built as a PE file is") }

// read reads the headers from the magic on.
func (p *peFile) read(at int, size int64) error {
	sections, optionalSize := int(le16(p.head[at+6:])), int(le16(p.head[at+20:]))
	optional := at + coffHeader
	table := optional + optionalSize // of sections
	end := table + sections*sectionHeader
	if sections > maxSections || end > len(p.head) {
		return notBuilt()
	}
	if err := p.readOptional(optional, optionalSize); err != nil {
		return err
	}
	for i := range sections {
		h := p.head[table+i*sectionHeader:]
		s := section{span{le32(h[12:]), le32(h[8:])}, span{le32(h[20:]), le32(h[16:])}}
		if s.file.size > 0 && s.file.end() > size {
			return notBuilt()
		}
		p.sections = append(p.sections, s)
	}
	p.headers = int64(end)
	return nil
}

// readOptional reads the optional header, which every image has.
func (p *peFile) readOptional(at, size int) error {
	const magic32, magic64 = 0x10b, 0x20b
	directories := 0 // where in the header they begin
	if size >= 2 {
		directories = map[uint16]int{magic32: 96, magic64: 112}[le16(p.head[at:])]
	}
	if directories == 0 || size < directories {
		return notBuilt()
	}
	count := le32(p.head[at+directories-4:])
	if count > maxEntries || int64(size) < int64(directories)+count*8 {
		return notBuilt()
	}
	entry := func(i int) span {
		if int64(i) >= count {
			return span{}
		}
		e := p.head[at+directories+i*8:]
		return span{le32(e), le32(e[4:])}
	}
	p.checksum, p.directory = at+64, at+directories+certificateEntry*8
	p.table, p.resources = entry(certificateEntry), entry(resourceEntry)
	return nil
}

// checkTable wants the certificate table to be the end of the file, whose other
// parts all lie before it: what lies in it is not hashed.
func (p *peFile) checkTable(size int64) error {
	t := p.table
	switch {
	case t.at%8 != 0 || t.size%8 != 0 || t.at < p.headers || t.size < 16:
		return invalid("the signature does not lie where one can be")
	case t.end() < size:
		return invalid("bytes stand behind the signature that nobody signed")
	case t.end() > size:
		return invalid("the file ends before its signature does")
	case slices.ContainsFunc(p.sections, func(s section) bool { return s.file.size > 0 && s.file.end() > t.at }):
		return invalid("a section of the file reaches into the signature, where nobody signed it")
	case t.size > MaxSignature:
		return invalid("the signature is larger than one may be")
	}
	return nil
}

// signature gives the CMS object of the one entry that the table may have.
func (p *peFile) signature(r io.ReaderAt) ([]byte, error) {
	const (
		header     = 8
		revision2  = 0x0200
		signedData = 0x0002
	)
	data := make([]byte, p.table.size)
	if n, err := r.ReadAt(data, p.table.at); n < len(data) {
		return nil, err
	}
	length := le32(data)
	switch {
	case length <= header || length > p.table.size:
		return nil, invalid("the signature's length can not be right")
	case p.table.size-length >= 8:
		return nil, invalid("more than one signature is in the file, or more room than one needs")
	case le16(data[4:]) != revision2 || le16(data[6:]) != signedData:
		return nil, invalid("the signature in the file is of an unknown kind")
	}
	object := data[header:]
	n, err := cms.Length(object)
	if err != nil || header+int64(n) > length {
		return nil, invalid("the signature is not strict DER")
	}
	if len(object)-n >= 8 || slices.ContainsFunc(object[n:], func(b byte) bool { return b != 0 }) {
		return nil, invalid("the room behind the signature is not filled with zeros")
	}
	return object[:n], nil
}

// digest is Authenticode's: of the whole file but checksum, directory entry, and
// the table. What was parsed is what is hashed.
func (p *peFile) digest(f File, hash crypto.Hash) ([]byte, error) {
	h := hash.New()
	rest := p.head[:min(int64(len(p.head)), p.table.at)]
	h.Write(rest[:p.checksum])
	h.Write(rest[p.checksum+4 : p.directory])
	h.Write(rest[p.directory+8:])
	if err := sum(h, f, int64(len(rest)), p.table.at); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

func le16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }

func le32(b []byte) int64 { return int64(binary.LittleEndian.Uint32(b)) }
