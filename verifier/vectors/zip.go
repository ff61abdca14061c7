package main

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// A writer of archives, since most of the archives in question are such as no
// library makes, and since compressed bytes must never change.

const listName = "META/package.p7m"

// Methods and flags of the zip format.
const (
	stored, deflate = 0, 8
	encryptedFlag   = 1 << 0
	descriptorFlag  = 1 << 3
)

// entry is one entry of an archive.
type entry struct {
	name       string
	data       []byte // content
	method     uint16
	flags      uint16
	raw        []byte // stands for the bytes in the archive, where not nil
	size       int    // stands for the content's, where not zero
	attributes uint32
	before     []byte // in front of the local header
	behind     []byte // behind the bytes
	localExtra []byte
	dirExtra   []byte
	comment    []byte
	noLocal    bool // only the directory has it
	local, dir func(header []byte)
	localName  string // where it is another one
}

// plain is an ordinary file.
func plain(name, data string) entry {
	return entry{name: name, data: []byte(data), attributes: 0o100644 << 16}
}

func (e entry) with(edit func(*entry)) entry {
	edit(&e)
	return e
}

func (e entry) compressed() []byte {
	switch {
	case e.raw != nil:
		return e.raw
	case e.method == deflate:
		return deflated(e.data)
	}
	return e.data
}

func put16(to []byte, values ...uint16) {
	for i, v := range values {
		binary.LittleEndian.PutUint16(to[2*i:], v)
	}
}

func put32(to []byte, values ...uint32) {
	for i, v := range values {
		binary.LittleEndian.PutUint32(to[4*i:], v)
	}
}

// sizes writes CRC, compressed and plain size.
func (e entry) sizes(to []byte) {
	size := e.size
	if size == 0 {
		size = len(e.data)
	}
	put32(to, crc32.ChecksumIEEE(e.data), uint32(len(e.compressed())), uint32(size))
}

func (e entry) localHeader() []byte {
	name := e.name
	if e.localName != "" {
		name = e.localName
	}
	h := make([]byte, 30)
	copy(h, "PK\x03\x04")
	put16(h[4:], 20, e.flags, e.method, 0, 0x5d7a) // a day in 2026
	if e.flags&descriptorFlag == 0 {
		e.sizes(h[14:])
	}
	put16(h[26:], uint16(len(name)), uint16(len(e.localExtra)))
	if e.local != nil {
		e.local(h)
	}
	return slices.Concat(h, []byte(name), e.localExtra)
}

func (e entry) dirHeader(offset int) []byte {
	h := make([]byte, 46)
	copy(h, "PK\x01\x02")
	put16(h[4:], 0x031e, 20, e.flags, e.method, 0, 0x5d7a) // made on Unix
	e.sizes(h[16:])
	put16(h[28:], uint16(len(e.name)), uint16(len(e.dirExtra)), uint16(len(e.comment)))
	put32(h[38:], e.attributes, uint32(offset))
	if e.dir != nil {
		e.dir(h)
	}
	return slices.Concat(h, []byte(e.name), e.dirExtra, e.comment)
}

// descriptor is what stands behind the bytes of an entry whose sizes were not
// known before.
func (e entry) descriptor() []byte {
	d := make([]byte, 16)
	copy(d, "PK\x07\x08")
	e.sizes(d[4:])
	return d
}

// layout is an archive before its bytes are joined.
type layout struct {
	entries   []entry
	gap       []byte // between the last entry and the directory
	dirOrder  []int  // the directory's order, where it is another one
	beforeEnd []byte // between directory and end record
	end       func(record []byte)
	comment   []byte // of the archive
	before    []byte // in front of everything, and not counted in offsets
	behind    []byte // behind everything
}

func (l layout) bytes() []byte {
	var out []byte
	headers := make([][]byte, len(l.entries))
	for i, e := range l.entries {
		out = append(out, e.before...)
		headers[i] = e.dirHeader(len(out))
		if !e.noLocal {
			out = slices.Concat(out, e.localHeader(), e.compressed(), e.behind)
		}
	}
	out = append(out, l.gap...)
	start := len(out)
	order := l.dirOrder
	if order == nil {
		for i := range headers {
			order = append(order, i)
		}
	}
	for _, i := range order {
		out = append(out, headers[i]...)
	}
	record := make([]byte, 22)
	copy(record, "PK\x05\x06")
	put16(record[8:], uint16(len(order)), uint16(len(order)))
	put32(record[12:], uint32(len(out)-start), uint32(start))
	put16(record[20:], uint16(len(l.comment)))
	out = append(out, l.beforeEnd...)
	if l.end != nil {
		l.end(record)
	}
	return slices.Concat(l.before, out, record, l.comment, l.behind)
}

// archive joins entries that are in order.
func archive(entries ...entry) []byte { return layout{entries: entries}.bytes() }

// bits writes a deflate stream (RFC 1951), least significant bit first.
type bits struct {
	out []byte
	n   uint // bits in the last byte
}

func (b *bits) add(value, count uint) {
	for i := range count {
		if b.n%8 == 0 {
			b.out = append(b.out, 0)
		}
		b.out[len(b.out)-1] |= byte(value>>i&1) << (b.n % 8)
		b.n++
	}
}

// code adds a Huffman code, whose most significant bit comes first.
func (b *bits) code(value, count uint) {
	for i := range count {
		b.add(value>>(count-1-i)&1, 1)
	}
}

// literal adds one byte in the fixed code.
func (b *bits) literal(c byte) {
	if c < 144 {
		b.code(0x30+uint(c), 8)
		return
	}
	b.code(0x190+uint(c)-144, 9)
}

// deflated is data in one block of the fixed code, without any repetition found.
func deflated(data []byte) []byte {
	var b bits
	b.add(1, 1) // the last block
	b.add(1, 2) // fixed codes
	for _, c := range data {
		b.literal(c)
	}
	b.code(0, 7) // end of block
	return b.out
}

// zeroBomb is a stream of that many times 258 zero bytes and one more.
func zeroBomb(times int) []byte {
	var b bits
	b.add(1, 1)
	b.add(1, 2)
	b.literal(0)
	for range times {
		b.code(0xc5, 8) // a length of 258 ...
		b.code(0, 5)    // ... at a distance of 1
	}
	b.code(0, 7)
	return b.out
}
