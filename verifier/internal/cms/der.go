package cms

import "errors"

// The bounds of the walk.
const (
	MaxElements = 4096 // OpenSSL's CMS has some 150, Authenticode some 700
	MaxDepth    = 32   // OpenSSL's CMS is 10 deep, Authenticode 25

	maxLength = 8 << 20 // of one element, so that sizes fit into an int anywhere
)

// What CheckDER finds wrong. The walk stands before the CMS library because
// that library's BER reader can be driven into exponential time and unbounded
// recursion, neither of which a program survives.
var (
	ErrIndefinite = errors.New("indefinite length, which is BER and not DER")
	ErrDER        = errors.New("not strict DER")
	ErrBounds     = errors.New("more elements or deeper nesting than any real signature has")
	ErrTrailing   = errors.New("bytes behind the object")
)

// CheckDER makes sure that data is exactly one DER element whose tree has
// definite minimal lengths, low tag numbers and each child inside its parent,
// and that the tree is of bounded size and depth. What is inside primitive
// elements is not looked at.
func CheckDER(data []byte) error {
	w := derWalk{left: MaxElements}
	rest, err := w.element(data, 1)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return ErrTrailing
	}
	return nil
}

// Length is how many bytes the element at the beginning of data has, header
// included. What is inside is not looked at.
func Length(data []byte) (int, error) {
	_, _, rest, err := derHeader(data)
	return len(data) - len(rest), err
}

type derWalk struct {
	left int // elements that may still come
}

// element walks the first element of data and gives what is behind it.
func (w *derWalk) element(data []byte, depth int) (rest []byte, err error) {
	if w.left--; w.left < 0 || depth > MaxDepth {
		return nil, ErrBounds
	}
	tag, body, rest, err := derHeader(data)
	if err != nil {
		return nil, err
	}
	if tag&derConstructed == 0 {
		return rest, nil
	}
	for len(body) > 0 {
		if body, err = w.element(body, depth+1); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

const (
	derConstructed = 0x20
	derSequence    = 0x30
	derSet         = 0x31
)

// derHeader splits data into the first element's tag, its body, and the rest.
func derHeader(data []byte) (tag byte, body, rest []byte, err error) {
	if len(data) < 2 {
		return 0, nil, nil, ErrDER
	}
	tag = data[0]
	if !allowedTag(tag) {
		return 0, nil, nil, ErrDER
	}
	length, data, err := derLength(data[1:])
	if err != nil {
		return 0, nil, nil, err
	}
	if length > len(data) {
		return 0, nil, nil, ErrDER
	}
	return tag, data[:length], data[length:], nil
}

// allowedTag refuses tag numbers of more than one byte, the end-of-contents
// mark, and universal types in the form (primitive or constructed) that DER
// does not know.
func allowedTag(tag byte) bool {
	const classMask, numberMask = 0xc0, 0x1f
	if tag&numberMask == numberMask || tag == 0 {
		return false
	}
	if tag&classMask != 0 {
		return true // context-specific and the like: either form
	}
	isList := tag|derConstructed == derSequence || tag|derConstructed == derSet
	return isList == (tag&derConstructed != 0)
}

// derLength reads a definite, minimal length. Four bytes are enough for
// everything that passes the limits on sizes.
func derLength(data []byte) (length int, rest []byte, err error) {
	first, data := data[0], data[1:]
	switch {
	case first < 0x80:
		return int(first), data, nil
	case first == 0x80:
		return 0, nil, ErrIndefinite
	}
	n := int(first & 0x7f)
	if n > 4 || n > len(data) || data[0] == 0 {
		return 0, nil, ErrDER
	}
	var length64 int64
	for _, b := range data[:n] {
		length64 = length64<<8 | int64(b)
	}
	if length64 < 0x80 || length64 > maxLength {
		return 0, nil, ErrDER
	}
	return int(length64), data[n:], nil
}
