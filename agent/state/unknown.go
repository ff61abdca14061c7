package state

import (
	"encoding/json"
	"reflect"
	"strings"
)

// unknown is what a later version of the program wrote at the top of a file, by name.
type unknown map[string]json.RawMessage

// unknownTo gives the fields of data that T has no name for.
func unknownTo[T any](data []byte) (u unknown, err error) {
	if err := json.Unmarshal(data, &u); err != nil {
		return nil, err
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		delete(u, name)
	}
	return u, nil
}

// beside encodes ours with the unknown fields beside it.
func (u unknown) beside(ours any) ([]byte, error) {
	data, err := json.Marshal(ours)
	if err != nil || len(u) == 0 {
		return data, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	for name, value := range u {
		fields[name] = value
	}
	return json.Marshal(fields)
}
