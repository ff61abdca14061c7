package verifier

import "errors"

// What checkDER finds wrong. The walk stands before the CMS library because
// that library's BER reader can be driven into exponential time and unbounded
// recursion, neither of which a program survives.
var (
	errIndefinite = errors.New("indefinite length, which is BER and not DER")
	errDER        = errors.New("not strict DER")
	errDERBounds  = errors.New("more elements or deeper nesting than any real signature has")
	errTrailing   = errors.New("bytes behind the object")
)

// checkDER makes sure that data is exactly one DER element whose tree has
// definite minimal lengths, low tag numbers and each child inside its parent,
// and that the tree is of bounded size and depth. What is inside primitive
// elements is not looked at.
func checkDER(data []byte) error {
	w := derWalk{left: maxDERElements}
	rest, err := w.element(data, 1)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return errTrailing
	}
	return nil
}

type derWalk struct {
	left int // elements that may still come
}

// element walks the first element of data and gives what is behind it.
func (w *derWalk) element(data []byte, depth int) (rest []byte, err error) {
	if w.left--; w.left < 0 || depth > maxDERDepth {
		return nil, errDERBounds
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
		return 0, nil, nil, errDER
	}
	tag = data[0]
	if !allowedTag(tag) {
		return 0, nil, nil, errDER
	}
	length, data, err := derLength(data[1:])
	if err != nil {
		return 0, nil, nil, err
	}
	if length > len(data) {
		return 0, nil, nil, errDER
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
		return 0, nil, errIndefinite
	}
	n := int(first & 0x7f)
	if n > 4 || n > len(data) || data[0] == 0 {
		return 0, nil, errDER
	}
	var length64 int64
	for _, b := range data[:n] {
		length64 = length64<<8 | int64(b)
	}
	if length64 < 0x80 || length64 > MaxTrustFile {
		return 0, nil, errDER
	}
	return int(length64), data[n:], nil
}
