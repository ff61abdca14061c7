package managedconfig

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// Lookup finds a key by its name, section.key, under its own or a known wrong
// spelling, and gives its right name. Where there is no such key, it gives the
// one that was probably meant, or nothing, and false.
func Lookup(name string) (right string, ok bool) {
	at := placeOf(name)
	if k, found := keyAt(at); found {
		return k.String(), true
	}
	meant, _ := suggest(at)
	if _, found := keyAt(meant); !found {
		return "", false // a section, or nothing
	}
	return meant.String(), false
}

// placeOf takes a name apart. No key of ours has a dot in it, but sections have.
func placeOf(name string) place {
	i := strings.LastIndexByte(name, '.')
	return place{section: name[:max(i, 0)], name: name[i+1:]}
}

// Set gives the content of a file with a key set to a value, and everything else
// as it is: unknown keys, order, and white space. The value is text as people type
// it: JSON where it is JSON that is allowed there, else a string. src.Data is nil
// for a file that is not there yet.
//
// Every error is an *Error. It has no File where it is the value that can't be
// used, and the file's own where that was broken before; then nothing can be set.
func Set(src Source, name, value string) ([]byte, error) {
	var first *Error
	for _, literal := range literals(value) {
		data, err := edit(src, name, func(o *hujson.Object, path []string) { put(o, "\n", path, literal) })
		if err == nil {
			err = passedOver(src, data, name)
		}
		if err == nil {
			return data, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// passedOver is the error of a value that a file may have, but that would count as
// not set: nobody should believe that it is.
func passedOver(src Source, data []byte, name string) *Error {
	src.Data = data
	doc, err := Parse(src)
	if err != nil {
		return asError(err)
	}
	k, _ := keyAt(placeOf(name))
	for _, w := range doc.Warnings() {
		set := func(r Row) bool { return r.Name == k.String() && r.Origin == src.Origin }
		if w.Key == k.String() && !slices.ContainsFunc(Resolve(doc).Rows(), set) {
			return &Error{Key: k.String(), Problem: "such a value would count as not set", Hint: w.Hint}
		}
	}
	return nil
}

// Unset gives the content of a file without a key, else like Set. A section that is
// empty then goes with it. A key that is not there is no error, and neither is a
// file, which stays nil.
func Unset(src Source, name string) ([]byte, error) {
	if src.Data == nil {
		return nil, nil
	}
	data, err := edit(src, name, remove)
	if err != nil {
		return nil, err
	}
	return data, nil
}

// literals are what a text may mean, the first that fits.
func literals(text string) (all []hujson.Literal) {
	if json.Valid([]byte(text)) {
		all = append(all, hujson.Literal(strings.TrimSpace(text)))
	}
	return append(all, hujson.String(text))
}

// edit changes a file and checks it as whole, before and after.
func edit(src Source, name string, change func(o *hujson.Object, path []string)) ([]byte, *Error) {
	if _, err := Parse(src); err != nil {
		return nil, asError(err)
	}
	k, ok := keyAt(placeOf(name))
	if !ok {
		return nil, &Error{Key: name, Problem: "there is no such key"}
	}
	text := strings.TrimPrefix(string(src.Data), byteOrderMark)
	if src.Data == nil {
		text = "{}\n"
	}
	root, err := hujson.Parse([]byte(text))
	if err != nil { // not after Parse
		return nil, &Error{File: src.File, Problem: "the file can not be taken apart", Hint: tryTool(src.File), Err: err}
	}
	object := root.Value.(*hujson.Object) // as Parse has seen
	for wrong, right := range aliases {
		if right == k.place { // it would be the one that counts, or a warning
			remove(object, wrong.names())
		}
	}
	change(object, k.place.names())
	src.Data = root.Pack()
	if _, err := Parse(src); err != nil {
		refused := asError(err)
		refused.File, refused.Line, refused.Column = "", 0, 0 // of a file that is not written
		return nil, refused
	}
	return src.Data, nil
}

// asError is what Parse promises.
func asError(err error) *Error {
	e, ok := err.(*Error)
	if !ok {
		return &Error{Problem: "the file can not be read", Err: err}
	}
	return e
}

// names are those that lead to a place, from the top of the file.
func (p place) names() []string { return strings.Split(p.String(), ".") }

// put sets what the path leads to, and makes the objects on the way. margin is the
// white space in front of the name of the object itself; what is new looks like the
// member before it, or is one step further in.
func put(o *hujson.Object, margin string, path []string, value hujson.Literal) {
	inner, space := further(margin), " "
	if n := len(o.Members); n > 0 {
		last := o.Members[n-1]
		inner, space = string(last.Name.BeforeExtra), string(last.Value.BeforeExtra)
		if line := ownLine(last.Name.BeforeExtra); line != "" {
			inner = line // and no empty lines before it
		}
	} else {
		o.AfterExtra = hujson.Extra(margin)
	}
	i := memberOf(o, path[0])
	if i < 0 {
		i = len(o.Members)
		o.Members = append(o.Members, hujson.ObjectMember{
			Name:  hujson.Value{BeforeExtra: hujson.Extra(inner), Value: hujson.String(path[0])},
			Value: hujson.Value{BeforeExtra: hujson.Extra(space), Value: &hujson.Object{}},
		})
	}
	member := &o.Members[i]
	if len(path) == 1 {
		member.Value.Value = value
		return
	}
	if section, ok := member.Value.Value.(*hujson.Object); ok { // as Parse has seen
		put(section, ownLine(member.Name.BeforeExtra), path[1:], value)
	}
}

// further is a margin one step further in, in the file's own manner. Where there is
// no new line, there is none.
func further(margin string) string {
	switch {
	case margin == "":
		return ""
	case strings.Contains(margin, "\t"):
		return margin + "\t"
	}
	return margin + "  "
}

// ownLine is white space from its last new line on, or nothing.
func ownLine(space hujson.Extra) string {
	if i := strings.LastIndexByte(string(space), '\n'); i >= 0 {
		return string(space[i:])
	}
	return ""
}

// remove takes away what the path leads to, and the objects that are empty then.
func remove(o *hujson.Object, path []string) {
	i := memberOf(o, path[0])
	if i < 0 {
		return
	}
	if section, ok := o.Members[i].Value.Value.(*hujson.Object); ok && len(path) > 1 {
		before := len(section.Members)
		remove(section, path[1:])
		if len(section.Members) == before || len(section.Members) > 0 {
			return
		}
	} else if len(path) > 1 {
		return
	}
	o.Members = append(o.Members[:i], o.Members[i+1:]...)
	if n := len(o.Members); n > 0 {
		o.Members[n-1].Value.AfterExtra = nil // anything else would leave a comma behind the last
	}
}

// memberOf finds a member by its name, -1 where there is none.
func memberOf(o *hujson.Object, name string) int {
	for i, m := range o.Members {
		if l, ok := m.Name.Value.(hujson.Literal); ok && l.String() == name {
			return i
		}
	}
	return -1
}
