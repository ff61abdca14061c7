package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"mdatp-offline-agent/verifier"
)

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	c := content{"a.vdm": "the bytes of a"}
	f := c.file("a.vdm")
	broken := errors.New("the line broke")
	for name, test := range map[string]struct {
		from io.Reader
		is   func(error) bool
	}{
		"altered": {strings.NewReader("the bytes of b"), isMismatch},
		"short":   {strings.NewReader("the bytes of"), isMismatch},
		"empty":   {strings.NewReader(""), isMismatch},
		"endless": {iotest.OneByteReader(zeros{}), isMismatch},
		"broken":  {io.MultiReader(strings.NewReader("the"), iotest.ErrReader(broken)), func(err error) bool { return err == broken }},
	} {
		t.Run(name, func(t *testing.T) {
			s := stage(t, d, "1.0.0.0", nil)
			if err := s.Write(t.Context(), f, test.from); !test.is(err) {
				t.Errorf("got %v", err)
			}
			if _, err := s.root.Lstat("a.vdm"); err == nil {
				t.Error("the refused file is still there")
			}
			// The same staging takes the right bytes afterwards, and seals.
			if err := s.Write(t.Context(), f, strings.NewReader(c["a.vdm"])); err != nil {
				t.Error(err)
			}
			if _, err := d.Seal(t.Context(), s, c.list(t, "1.0.0.0"), signedFor("1.0.0.0")); err != nil {
				t.Error(err)
			}
		})
	}
}

// That a staged file can't be read back is this machine's failure, and no unknown one.
func TestReadBackFails(t *testing.T) {
	t.Parallel()
	s := stage(t, newDir(t), "1.0.0.0", nil)
	c := content{"a.vdm": "the bytes of a"}
	if err := s.Write(t.Context(), c.file("a.vdm"), strings.NewReader(c["a.vdm"])); err != nil {
		t.Fatal(err)
	}
	staged, err := s.Content("a.vdm")
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 20)
	if n, err := staged.ReadAt(p, 0); string(p[:n]) != c["a.vdm"] || err != io.EOF {
		t.Errorf("read were %q, %v", p[:n], err)
	}
	s.staged["a.vdm"].file.Close() // which stands for a disk that gives nothing back
	var failed *Error
	if _, err := staged.ReadAt(p, 0); !errors.As(err, &failed) || failed.Code != InstallFailed {
		t.Errorf("the error is %v", err)
	}
}

func isMismatch(err error) bool {
	var r *verifier.Refusal
	return errors.As(err, &r) && r.Code == verifier.ContentMismatch
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestWriteEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := stage(t, newDir(t), "1.0.0.0", nil)
	ctx, cancel := context.WithCancel(t.Context())
	read := 0
	from := readerFunc(func(p []byte) (int, error) {
		if read++; read == 3 {
			cancel()
		}
		return len(p), nil
	})
	err := s.Write(ctx, verifier.File{Name: "a", Size: 1 << 30}, from)
	if !errors.Is(err, context.Canceled) || read != 3 {
		t.Errorf("got %v after %d reads", err, read)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestWriteNames(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	c := content{"a": "a"}
	s := stage(t, d, "1.0.0.0", c)
	// A second file of one name, and one where the signed list will lie.
	for _, name := range []string{"a", "META", "META/package.p7m", "../a", "", ".", ".hidden", "a/b"} {
		f := c.file("a")
		f.Name = name
		wantCode(t, s.Write(t.Context(), f, strings.NewReader("a")), InstallFailed)
		wantCode(t, s.Receive(t.Context(), name, strings.NewReader("a")), InstallFailed)
	}
	if got, err := os.ReadFile(filepath.Join(d.Path(), s.path, "a")); string(got) != "a" || err != nil {
		t.Errorf("the first file is %q, %v", got, err)
	}
	for _, name := range []string{"..", "current", "1.2.3.4"} {
		_, err := d.Stage(name)
		wantCode(t, err, InstallFailed)
	}
}

func TestSealTakesOnlyWholeSets(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	c := release("1.0.0.0")
	changed := c.list(t, "1.0.0.0")
	changed.Files[0].SHA256[0] ^= 1
	less := c.list(t, "1.0.0.0")
	less.Files = less.Files[1:]
	more := c.list(t, "1.0.0.0")
	more.Files = append(more.Files, verifier.File{Name: "more"})
	for name, list := range map[string]*verifier.List{"another": changed, "fewer": less, "more": more, "none": {}} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Seal(t.Context(), stage(t, d, "1.0.0.0", c), list, signedFor("1.0.0.0"))
			wantCode(t, err, InstallFailed)
		})
	}
	_, err := d.Seal(t.Context(), stage(t, d, "1.0.0.0", c), c.list(t, "1.0.0.0"), make([]byte, verifier.MaxListSize+1))
	wantCode(t, err, InstallFailed)
	if sets, _ := d.Sets(); len(sets) > 0 {
		t.Errorf("sets came out of staging: %v", sets)
	}
}

func TestStagingEnds(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	c := release("1.0.0.0")
	s := stage(t, d, "1.0.0.0", c)
	set, err := d.Seal(t.Context(), s, c.list(t, "1.0.0.0"), signedFor("1.0.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	s.Discard()
	s.Discard()
	if err := set.Check(t.Context(), c.list(t, "1.0.0.0").Files); err != nil {
		t.Errorf("discarding took something of the sealed set: %v", err)
	}
	wantCode(t, s.Write(t.Context(), verifier.File{Name: "late"}, strings.NewReader("")), InstallFailed)
	_, err = d.Seal(t.Context(), s, c.list(t, "1.0.0.0"), signedFor("1.0.0.0"))
	wantCode(t, err, InstallFailed)

	s = stage(t, d, "2.0.0.0", c)
	if _, err := d.Seal(cancelled(), s, c.list(t, "2.0.0.0"), signedFor("2.0.0.0")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.Discard()
	wantEmptyStaging(t, d)
}

func TestSpool(t *testing.T) {
	t.Parallel()
	d := newDir(t)
	for name, open := range map[string]func() (*Spool, error){
		"known size":   func() (*Spool, error) { return d.Spool(11) },
		"unknown size": func() (*Spool, error) { return d.Spool(-1) },
	} {
		t.Run(name, func(t *testing.T) {
			s, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(s, "hello world"); err != nil {
				t.Fatal(err)
			}
			wantEmptyStaging(t, d) // it has no name, so a crash leaves nothing
			got := make([]byte, 5)
			if _, err := s.ReadAt(got, 6); err != nil || !bytes.Equal(got, []byte("world")) {
				t.Errorf("read %q, %v", got, err)
			}
			if info, err := s.file.Stat(); err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	_, err := d.Spool(1 << 60)
	wantCode(t, err, DiskFull)
}
