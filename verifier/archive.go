package verifier

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
)

// An archive is judged by its directory and end record alone, in a subset of
// the zip format so strict that no two programs can read it differently. Other
// readers of zip are lenient in different ways, which makes one file two
// packages; hence our own small parser.

// EndSize is the size in bytes of the end record, which must be the archive's
// last bytes.
const EndSize = 22

// TailSize is how many bytes from the end of an archive are sure to hold end
// record, directory and signed list of every package that has its list inside.
const TailSize = EndSize + MaxEntries*(dirHeaderSize+MaxNameLength) + localHeaderSize + len(ListEntry) + MaxListSize

// Magic numbers and sizes of the zip format (APPNOTE.TXT, section 4.3).
const (
	endMagic        = "PK\x05\x06"
	dirMagic        = "PK\x01\x02"
	localMagic      = "PK\x03\x04"
	descriptorMagic = "PK\x07\x08"

	dirHeaderSize   = 46
	localHeaderSize = 30

	// The most that an entry has beside header, name and content, which is extra
	// fields and a marked data descriptor.
	maxSurplus = 1<<16 - 1 + 16
)

// Compression methods and general-purpose flags that may occur.
const (
	methodStored   = 0
	methodDeflated = 8

	flagsHarmless  = 1<<1 | 1<<2 | 1<<11 // how hard deflate tried, and names in UTF-8
	flagDescriptor = 1 << 3
)

// End is what the end record says: where the directory lies.
type End struct {
	DirOffset, DirSize int64
	Entries            int
}

// ParseEnd reads the end record from the last bytes of an archive of size
// bytes. tail must hold at least the last EndSize bytes where the archive has
// that many. Refusals: package_too_large, not_a_package, package_malformed.
func ParseEnd(tail []byte, size int64) (End, error) {
	if size > MaxArchiveSize {
		return End{}, refuse(PackageTooLarge, fmt.Sprintf("the package has %d bytes and %d is the most", size, int64(MaxArchiveSize)), "check that the URL leads to a mirror of definition packages")
	}
	if size < EndSize || len(tail) < EndSize {
		return End{}, notAPackage()
	}
	end := tail[len(tail)-EndSize:]
	if string(end[:4]) != endMagic {
		if strings.Contains(string(tail), endMagic) {
			return End{}, malformed("something stands behind the archive's end record")
		}
		return End{}, notAPackage()
	}
	le := binary.LittleEndian
	disk, dirDisk, here, all := le.Uint16(end[4:]), le.Uint16(end[6:]), le.Uint16(end[8:]), le.Uint16(end[10:])
	e := End{DirSize: int64(le.Uint32(end[12:])), DirOffset: int64(le.Uint32(end[16:])), Entries: int(all)}
	switch comment := le.Uint16(end[20:]); {
	case comment != 0:
		return End{}, malformed("the archive has a comment")
	case disk != 0 || dirDisk != 0 || here != all:
		return End{}, malformed("the archive is split into parts")
	case e.Entries == 0 || e.Entries > MaxEntries:
		return End{}, malformed(fmt.Sprintf("the archive does not have 1 to %d entries", MaxEntries))
	case e.DirSize > MaxDirSize || e.DirOffset+e.DirSize != size-EndSize:
		return End{}, malformed("the archive's directory does not end where its end record begins")
	}
	return e, nil
}

// CheckBeginning tells whether something can be a package whose first bytes these are,
// for who has not got its end. An archive begins with its first entry.
func CheckBeginning(begin []byte) error {
	if !strings.HasPrefix(string(begin), localMagic) {
		return notAPackage()
	}
	return nil
}

func notAPackage() error {
	return refuse(NotAPackage, "what the source serves is not a zip archive", "the source may answer with a web page or a cut file, so fetch the URL by hand and look at it")
}

func malformed(sentence string) error {
	return refuse(PackageMalformed, sentence, zipHint)
}

// Entry is one entry of an archive, as the directory describes it.
type Entry struct {
	Name       string
	Size       int64 // bytes, inflated
	Compressed int64 // bytes in the archive
	Offset     int64 // where its local header begins
	End        int64 // where the next entry, or the directory, begins

	method, flags uint16
	crc           uint32
	extra         bool // the directory has an extra field for it
}

// Archive is the layout of a package.
type Archive struct {
	Entries []Entry // in the order of their offsets
}

// ParseDirectory reads the directory, whose place ParseEnd told, and checks
// every rule of the layout that holds for all packages: known methods, no
// encryption, no links or devices, sizes that fit, entries in ascending order
// without gaps from the first byte on. A refusal has the code package_malformed.
func ParseDirectory(dir []byte, end End) (*Archive, error) {
	if int64(len(dir)) != end.DirSize {
		return nil, malformed("the archive's directory is cut")
	}
	a := &Archive{}
	for range end.Entries {
		e, rest, err := parseEntry(dir)
		if err != nil {
			return nil, err
		}
		a.Entries = append(a.Entries, e)
		dir = rest
	}
	if len(dir) > 0 {
		return nil, malformed("the archive's directory has bytes that belong to no entry")
	}
	return a, a.layOut(end.DirOffset)
}

func parseEntry(dir []byte) (e Entry, rest []byte, err error) {
	if len(dir) < dirHeaderSize || string(dir[:4]) != dirMagic {
		return e, nil, malformed("the archive's directory is damaged")
	}
	le := binary.LittleEndian
	needs, nameLen, extraLen, commentLen := le.Uint16(dir[6:]), int(le.Uint16(dir[28:])), int(le.Uint16(dir[30:])), int(le.Uint16(dir[32:]))
	madeBy, attributes := dir[5], le.Uint32(dir[38:])
	e = Entry{
		Size: int64(le.Uint32(dir[24:])), Compressed: int64(le.Uint32(dir[20:])), Offset: int64(le.Uint32(dir[42:])),
		method: le.Uint16(dir[10:]), flags: le.Uint16(dir[8:]), crc: le.Uint32(dir[16:]), extra: extraLen > 0,
	}
	if len(dir) < dirHeaderSize+nameLen+extraLen+commentLen {
		return e, nil, malformed("the archive's directory is damaged")
	}
	e.Name = string(dir[dirHeaderSize:][:nameLen])
	switch {
	case commentLen != 0 || le.Uint16(dir[34:]) != 0:
		err = malformed("an entry has a comment or lies on another disk")
	case needs&0xff > 20 || e.flags&^(flagsHarmless|flagDescriptor) != 0:
		err = malformed("an entry is encrypted or needs a newer version of the zip format")
	case e.method != methodStored && e.method != methodDeflated:
		err = malformed("an entry is neither stored nor deflated")
	case e.method == methodStored && e.Size != e.Compressed:
		err = malformed("a stored entry has two sizes")
	case strings.HasSuffix(e.Name, "/") && (e.Size != 0 || e.Compressed != 0):
		err = malformed("a directory entry has content")
	case !plainEntry(e.Name, madeBy, attributes):
		err = malformed("an entry is neither a plain file nor, in an archive with a sidecar, a directory")
	}
	return e, dir[dirHeaderSize+nameLen+extraLen+commentLen:], err
}

// plainEntry refuses links, devices and the like, which only archives made on
// Unix can describe, and names that are neither a flat file's nor the signed
// list's nor a directory's.
func plainEntry(name string, madeBy byte, attributes uint32) bool {
	const unix, dosDirectory = 3, 0x10
	const typeMask, typeFile, typeDir = 0xf000, 0x8000, 0x4000
	isDir := strings.HasSuffix(name, "/")
	if kind := attributes >> 16 & typeMask; madeBy == unix && kind != 0 {
		if isDir && kind != typeDir || !isDir && kind != typeFile {
			return false
		}
	}
	if !isDir && attributes&dosDirectory != 0 {
		return false
	}
	for _, part := range strings.Split(strings.TrimSuffix(name, "/"), "/") {
		if !ValidName(part) {
			return false
		}
	}
	return true
}

// layOut gives each entry its end, and wants the entries to fill the archive
// from its first byte to the directory. How much of an entry is header is only
// known with its local header at hand, or, where extras are forbidden, to
// strictLayout.
func (a *Archive) layOut(dirOffset int64) error {
	seen := make(map[string]bool, len(a.Entries))
	at := int64(0)
	for i := range a.Entries {
		e := &a.Entries[i]
		folded := strings.ToLower(e.Name)
		if seen[folded] {
			return malformed("two entries have one name")
		}
		seen[folded] = true
		if e.End = dirOffset; i+1 < len(a.Entries) {
			e.End = a.Entries[i+1].Offset
		}
		least := localHeaderSize + int64(len(e.Name)) + e.Compressed
		if room := e.End - e.Offset; e.Offset != at || room < least || room > least+maxSurplus {
			return malformed("the entries do not follow each other without gaps or overlaps")
		}
		at = e.End
	}
	return nil
}

// Digest tells one layout from another: by the names, sizes, places and CRCs of the
// entries. It says nothing of what is in them, which anybody can fit to it.
func (a *Archive) Digest() Digest {
	h := sha256.New()
	for _, e := range a.Entries {
		fmt.Fprintf(h, "%q %d %d %d %d %08x\n", e.Name, e.Size, e.Compressed, e.Offset, e.End, e.crc)
	}
	return Digest(h.Sum(nil))
}

// HasMeta tells whether any entry lies below META/. Where one does, the archive
// speaks for itself and no sidecar counts.
func (a *Archive) HasMeta() bool {
	for _, e := range a.Entries {
		if strings.HasPrefix(strings.ToUpper(e.Name), "META/") {
			return true
		}
	}
	return false
}

// SignedList gives the entry of the signed list, and checks the stricter rules
// of an archive that has one: the list is the last entry, stored and of bounded
// size, and no entry has extra fields or a data descriptor, so that the
// directory alone fixes where every byte lies. Refusals: signature_missing
// where there is no list, package_malformed.
func (a *Archive) SignedList() (Entry, error) {
	if !a.HasMeta() {
		return Entry{}, refuse(SignatureMissing, "the package has no signed list", "approve it with agent mirror approve RING-DIR, or build your own with agent package build")
	}
	last := a.Entries[len(a.Entries)-1]
	switch {
	case last.Name != ListEntry:
		return Entry{}, malformed("the signed list is not the archive's last entry")
	case last.method != methodStored:
		return Entry{}, malformed("the signed list is not stored but compressed")
	case last.Size > MaxListSize:
		return Entry{}, malformed(fmt.Sprintf("the signed list has more than %d bytes", MaxListSize))
	}
	for i, e := range a.Entries {
		if isLast := i == len(a.Entries)-1; !isLast && !ValidName(e.Name) {
			return Entry{}, malformed("an entry is neither the signed list nor a flat file")
		}
		if e.extra || e.flags&flagDescriptor != 0 || e.End-e.Offset != localHeaderSize+int64(len(e.Name))+e.Compressed {
			return Entry{}, malformed("an entry has extra fields or a data descriptor")
		}
	}
	return last, nil
}

// Match gives the entry of each file of the list, in the list's order. Entries
// and list must name exactly the same files with the same sizes; beside them
// there may be the signed list, and directories. A refusal has the code
// content_mismatch.
func (a *Archive) Match(l *List) ([]Entry, error) {
	byName := make(map[string]Entry, len(a.Entries))
	for _, e := range a.Entries {
		if e.Name == ListEntry || strings.HasSuffix(e.Name, "/") {
			continue
		}
		byName[e.Name] = e
	}
	entries := make([]Entry, 0, len(l.Files))
	for _, f := range l.Files {
		e, ok := byName[f.Name]
		if !ok || e.Size != f.Size {
			return nil, mismatch("the archive lacks a file of the signed list, or has it with another size")
		}
		entries = append(entries, e)
	}
	if len(entries) != len(byName) {
		return nil, mismatch("the archive has a file that the signed list does not name")
	}
	return entries, nil
}
