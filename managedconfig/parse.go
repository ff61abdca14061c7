package managedconfig

import (
	"bytes"
	"fmt"
)

// Source is the bytes of one file.
type Source struct {
	Origin Origin // which layer it is
	File   string // its path, for reports
	Data   []byte // nil: the file is absent
}

// Document is one file, read and checked. The zero value is an absent file.
type Document struct {
	origin   Origin
	file     string
	values   Settings       // only the fields of given keys mean anything
	given    map[place]bool // by canonical name
	warnings []Warning
}

// Parse reads one file. An absent one gives a Document that sets nothing. The
// error is an *Error, and then there is no document: a file is taken whole or
// not at all.
func Parse(src Source) (Document, error) {
	doc := Document{origin: src.Origin, file: src.File, given: map[place]bool{}}
	if src.Data == nil {
		return doc, nil
	}
	data := bytes.TrimPrefix(src.Data, []byte(byteOrderMark))
	if err := checkSyntax(src.File, data); err != nil {
		return Document{}, err
	}
	w := walk{file: src.File, data: data}
	if err := w.run(); err != nil {
		return Document{}, err
	}
	if err := doc.load(&w); err != nil {
		return Document{}, err
	}
	if err := doc.hooksHaveCommands(&w); err != nil {
		return Document{}, err
	}
	doc.warnings = w.warnings
	return doc, nil
}

// Warnings are what the file's administrator should see.
func (d Document) Warnings() []Warning { return d.warnings }

// load makes the names of what was found canonical and reads the values. Of a
// key under its right and a wrong name the right one counts.
func (d *Document) load(w *walk) *Error {
	for _, f := range w.values {
		right := f.key.place
		if f.place != right {
			if line, ok := w.seen[right]; ok {
				w.warn(f.place, f.line, "", fmt.Sprintf("which is ignored, because line %d has %s", line, right), "remove it")
				continue
			}
			w.warn(f.place, f.line, "", fmt.Sprintf("which is taken as %s", right), fmt.Sprintf("write %s", right))
		}
		note, err := f.key.load(&d.values, f.value, d.origin, d.file)
		if err != nil {
			return err.at(d.file, f.line, f.String())
		}
		if note.sentence != "" {
			w.warn(f.place, f.line, f.value.shown(), note.sentence, note.hint)
		}
		if !note.unset {
			d.given[right] = true
		}
	}
	return nil
}

// hooksHaveCommands refuses a hook without a command: nobody should believe that
// something is run. Each file has to name its own.
func (d *Document) hooksHaveCommands(w *walk) error {
	for _, hook := range []place{preload, postload} {
		line, there := w.seen[hook]
		if there && !d.given[place{hook.String(), "command"}] {
			return &Error{File: d.file, Line: line, Key: hook.String(), Problem: "it names no command", Hint: "give it a command, or remove it"}
		}
	}
	return nil
}
