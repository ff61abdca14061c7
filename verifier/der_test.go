package verifier

import (
	"bytes"
	"errors"
	"testing"
)

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
		"nothing":                      {nil, errDER},
		"one byte":                     {[]byte{0x30}, errDER},
		"depth of 33":                  {nested(33), errDERBounds},
		"depth of 10000":               {nested(10000), errDERBounds},
		"4097 elements":                {der(0x30, bytes.Repeat(null, 4096)), errDERBounds},
		"trailing byte":                {append(der(0x30, null), 0), errTrailing},
		"two objects":                  {append(der(0x30, null), der(0x30, null)...), errTrailing},
		"indefinite length":            {[]byte{0x30, 0x80, 5, 0, 0, 0}, errIndefinite},
		"indefinite child":             {der(0x30, []byte{0x24, 0x80, 4, 0, 0, 0}), errDER}, // by its tag already
		"indefinite context tag":       {der(0x30, []byte{0xa0, 0x80, 5, 0, 0, 0}), errIndefinite},
		"indefinite primitive":         {[]byte{4, 0x80, 0, 0}, errIndefinite},
		"end of contents":              {der(0x30, []byte{0, 0}), errDER},
		"constructed octet string":     {der(0x24, der(4, null)), errDER},
		"constructed bit string":       {der(0x23, null), errDER},
		"primitive sequence":           {[]byte{0x10, 0}, errDER},
		"primitive set":                {[]byte{0x11, 0}, errDER},
		"long tag":                     {[]byte{0x1f, 0x81, 0x01, 0}, errDER},
		"long tag, constructed":        {[]byte{0x3f, 0x21, 0}, errDER},
		"long context tag":             {[]byte{0xbf, 0x21, 0}, errDER},
		"length longer than the data":  {[]byte{4, 2, 0}, errDER},
		"length in too many bytes":     {[]byte{4, 0x81, 0x7f}, errDER},
		"short length in the long way": {append([]byte{4, 0x81, 0x01}, 0), errDER},
		"length with a leading zero":   {append([]byte{4, 0x82, 0x00, 0x80}, make([]byte, 128)...), errDER},
		"length of five bytes":         {[]byte{4, 0x85, 1, 0, 0, 0, 0}, errDER},
		"length of 127 bytes":          {append([]byte{4, 0xff}, make([]byte, 200)...), errDER},
		"length that is cut":           {[]byte{4, 0x82, 1}, errDER},
		"length with no bytes":         {[]byte{4, 0x81}, errDER},
		"length of 4 GiB":              {[]byte{4, 0x84, 0xff, 0xff, 0xff, 0xff}, errDER},
		"length of 2 GiB":              {[]byte{4, 0x84, 0x80, 0, 0, 0}, errDER},
		"child longer than its parent": {append([]byte{0x30, 3, 4, 2, 0}, 0, 0), errDER},
		"child cut by its parent":      {[]byte{0x30, 1, 5}, errDER},
		"grandchild beyond its parent": {[]byte{0x30, 6, 0x30, 2, 4, 2, 5, 0}, errDER},
		"a web page":                   {[]byte("<!DOCTYPE html>"), errDER},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := checkDER(row.data); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}
