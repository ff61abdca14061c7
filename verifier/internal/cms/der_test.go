package cms

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"testing"
)

// der joins parts into one element with that tag.
func der(tag byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	out, err := asn1.Marshal(asn1.RawValue{Class: int(tag >> 6), Tag: int(tag & 0x1f), IsCompound: tag&0x20 != 0, Bytes: body})
	if err != nil {
		panic(err) // a fault of the test itself
	}
	return out
}

// nested is that many sequences in each other.
func nested(depth int) []byte {
	var out []byte
	for range depth {
		out = der(0x30, out)
	}
	return out
}

func TestCheckDER(t *testing.T) {
	t.Parallel()
	null := []byte{5, 0}
	for name, row := range map[string]struct {
		data []byte
		want error
	}{
		"null":                         {null, nil},
		"empty sequence":               {[]byte{0x30, 0}, nil},
		"empty octet string":           {[]byte{4, 0}, nil},
		"set in sequence":              {der(0x30, der(0x31, null), null), nil},
		"context tag, constructed":     {der(0xa0, null), nil},
		"context tag, primitive":       {der(0x80, []byte("x")), nil},
		"long form of length":          {der(4, make([]byte, 128)), nil},
		"length of three bytes":        {der(4, make([]byte, 1<<16)), nil},
		"primitive that looks nested":  {der(4, []byte{0x30, 0x80}), nil},
		"depth of 32":                  {nested(32), nil},
		"4096 elements":                {der(0x30, bytes.Repeat(null, 4095)), nil},
		"nothing":                      {nil, ErrDER},
		"one byte":                     {[]byte{0x30}, ErrDER},
		"depth of 33":                  {nested(33), ErrBounds},
		"depth of 10000":               {nested(10000), ErrBounds},
		"4097 elements":                {der(0x30, bytes.Repeat(null, 4096)), ErrBounds},
		"trailing byte":                {append(der(0x30, null), 0), ErrTrailing},
		"two objects":                  {append(der(0x30, null), der(0x30, null)...), ErrTrailing},
		"indefinite length":            {[]byte{0x30, 0x80, 5, 0, 0, 0}, ErrIndefinite},
		"indefinite child":             {der(0x30, []byte{0x24, 0x80, 4, 0, 0, 0}), ErrDER}, // by its tag already
		"indefinite context tag":       {der(0x30, []byte{0xa0, 0x80, 5, 0, 0, 0}), ErrIndefinite},
		"indefinite primitive":         {[]byte{4, 0x80, 0, 0}, ErrIndefinite},
		"end of contents":              {der(0x30, []byte{0, 0}), ErrDER},
		"constructed octet string":     {der(0x24, der(4, null)), ErrDER},
		"constructed bit string":       {der(0x23, null), ErrDER},
		"primitive sequence":           {[]byte{0x10, 0}, ErrDER},
		"primitive set":                {[]byte{0x11, 0}, ErrDER},
		"long tag":                     {[]byte{0x1f, 0x81, 0x01, 0}, ErrDER},
		"long tag, constructed":        {[]byte{0x3f, 0x21, 0}, ErrDER},
		"long context tag":             {[]byte{0xbf, 0x21, 0}, ErrDER},
		"length longer than the data":  {[]byte{4, 2, 0}, ErrDER},
		"length in too many bytes":     {[]byte{4, 0x81, 0x7f}, ErrDER},
		"short length in the long way": {append([]byte{4, 0x81, 0x01}, 0), ErrDER},
		"length with a leading zero":   {append([]byte{4, 0x82, 0x00, 0x80}, make([]byte, 128)...), ErrDER},
		"length of five bytes":         {[]byte{4, 0x85, 1, 0, 0, 0, 0}, ErrDER},
		"length of 127 bytes":          {append([]byte{4, 0xff}, make([]byte, 200)...), ErrDER},
		"length that is cut":           {[]byte{4, 0x82, 1}, ErrDER},
		"length with no bytes":         {[]byte{4, 0x81}, ErrDER},
		"length of 4 GiB":              {[]byte{4, 0x84, 0xff, 0xff, 0xff, 0xff}, ErrDER},
		"length of 2 GiB":              {[]byte{4, 0x84, 0x80, 0, 0, 0}, ErrDER},
		"child longer than its parent": {append([]byte{0x30, 3, 4, 2, 0}, 0, 0), ErrDER},
		"child cut by its parent":      {[]byte{0x30, 1, 5}, ErrDER},
		"grandchild beyond its parent": {[]byte{0x30, 6, 0x30, 2, 4, 2, 5, 0}, ErrDER},
		"a web page":                   {[]byte("<!DOCTYPE html>"), ErrDER},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := CheckDER(row.data); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}
