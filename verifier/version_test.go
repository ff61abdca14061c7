package verifier

import (
	"encoding/json"
	"testing"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	good := map[string]Version{
		"0.0.0.0":     {},
		"1.407.417.0": {1, 407, 417, 0},
		"1.1.24080.9": {1, 1, 24080, 9},
		"4294967295.4294967295.4294967295.4294967295": {1<<32 - 1, 1<<32 - 1, 1<<32 - 1, 1<<32 - 1},
	}
	for s, want := range good {
		if got, err := ParseVersion(s); err != nil || got != want || got.String() != s {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for name, s := range map[string]string{
		"empty": "", "one component": "1", "three components": "1.2.3", "five components": "1.2.3.4.5",
		"empty component": "1..2.3", "dots only": "...", "trailing dot": "1.2.3.", "five with an empty one": "1.2.3.4.",
		"leading zero": "1.0010.0.0", "leading zero of zero": "1.00.0.0", "plus": "+1.2.3.4", "minus": "1.-2.3.4",
		"leading space": " 1.2.3.4", "trailing space": "1.2.3.4 ", "newline": "1.2.3.4\n", "inner space": "1. 2.3.4",
		"NUL": "1.2.3\x00.4", "Arabic digits": "١.2.3.4", "full-width digits": "１.2.3.4", "full-width dot": "1．2.3.4",
		"2^32": "1.2.3.4294967296", "2^64": "1.2.3.18446744073709551616", "hexadecimal": "0x1.2.3.4",
		"underscore": "1_0.2.3.4", "exponent": "1e1.2.3.4", "letters": "a.b.c.d", "v": "v1.2.3.4",
		"too long": "00000000000000000000000000000000000000000000000001.2.3.4", "comma": "1,2,3,4",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := ParseVersion(s); err == nil || !got.IsZero() {
				t.Errorf("%q was read as %v", s, got)
			}
		})
	}
}

// Each version is newer than the one before it.
func TestVersionCompare(t *testing.T) {
	t.Parallel()
	order := []Version{
		{}, {0, 0, 0, 1}, {0, 0, 1, 0}, {1, 0, 0, 0}, {1, 9, 0, 0}, {1, 10, 0, 0}, {1, 10, 0, 1},
		{1, 407, 417, 0}, {1, 407, 1000, 0}, {2, 0, 0, 0}, {1<<31 - 1, 0, 0, 0}, {1 << 31, 0, 0, 0}, {1<<32 - 1, 0, 0, 0},
	}
	for i, a := range order {
		for j, b := range order {
			if got := a.Compare(b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%v against %v: %d", a, b, got)
			}
		}
	}
}

func TestVersionText(t *testing.T) {
	t.Parallel()
	for _, v := range []Version{{}, {1, 2, 3, 4}, {0, 0, 0, 1}} {
		data, err := json.Marshal(map[string]Version{"v": v})
		must(t, err)
		var back map[string]Version
		must(t, json.Unmarshal(data, &back))
		if back["v"] != v {
			t.Errorf("%v became %v by way of %s", v, back["v"], data)
		}
	}
	v := Version{1, 2, 3, 4}
	if err := v.UnmarshalText([]byte("1.2.3.x")); err == nil || v != (Version{1, 2, 3, 4}) {
		t.Errorf("a bad text gave %v, %v", v, err)
	}
}

// What is read is written the same, and the order is total: it has no cycles
// and is the same from both sides.
func FuzzVersion(f *testing.F) {
	f.Add("1.407.417.0", "1.10.0.0", "1.9.0.0")
	f.Add("0.0.0.0", "4294967295.0.0.0", "4294967296.0.0.0")
	f.Add("1.0010.0.0", "+1.2.3.4", " 1.2.3.4")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		var v [3]Version
		for i, s := range []string{a, b, c} {
			parsed, err := ParseVersion(s)
			if err == nil && parsed.String() != s {
				t.Fatalf("%q was read as %v", s, parsed)
			}
			v[i] = parsed
		}
		if v[0].Compare(v[1]) != -v[1].Compare(v[0]) || (v[0].Compare(v[1]) == 0) != (v[0] == v[1]) {
			t.Fatalf("%v and %v have no order", v[0], v[1])
		}
		if v[0].Compare(v[1]) <= 0 && v[1].Compare(v[2]) <= 0 && v[0].Compare(v[2]) > 0 {
			t.Fatalf("the order of %v has a cycle", v)
		}
	})
}
