package state

import (
	"encoding/json"
	"reflect"
	"strings"
)

// unknownTo gives the fields at the top of data, by name, that T has no name for: what
// a later version of the program wrote.
func unknownTo[T any](data []byte) (unknown map[string]json.RawMessage, err error) {
	if err := json.Unmarshal(data, &unknown); err != nil {
		return nil, err
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		delete(unknown, name)
	}
	return unknown, nil
}

// besideUnknown encodes ours, which is a T without its methods, with what read had
// beside it. Only who writes needs to know that, and most only read: the daemon does
// each minute.
func besideUnknown[T any](read []byte, ours any) ([]byte, error) {
	data, err := json.Marshal(ours)
	if err != nil || read == nil {
		return data, err
	}
	unknown, err := unknownTo[T](read)
	if err != nil || len(unknown) == 0 {
		return data, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	for name, value := range unknown {
		fields[name] = value
	}
	return json.Marshal(fields)
}
