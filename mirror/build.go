package mirror

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// DefaultValidity is how long after its issue a list expires where BuildOptions
// does not say.
const DefaultValidity = 14 * 24 * time.Hour

// defaultLevel of deflate: 9 would take twice the time for one percent.
const defaultLevel = 6

// BuildOptions says what a package is and is for.
type BuildOptions struct {
	// Dir holds the package's files: regular files only, none hidden, no
	// directories.
	Dir string

	Product, Platform, Arch string
	Rings                   []string
	Engine, Definition      verifier.Version

	// Times, in whole seconds; parts of seconds are cut off.
	Issued   time.Time // zero: Now
	Released time.Time // zero: Issued
	Expires  time.Time // zero: Issued and DefaultValidity

	// Previous is the list that endpoints have now; nil: that of the package
	// which is about to be replaced, if there is one.
	Previous *verifier.List
	// Force allows versions that leap or go back, and to replace a package of
	// another kind, or one that can't be read.
	Force bool
	// Level of deflate, 1 (fast) to 9 (small); zero: 6.
	Level int
	// Now is the publisher's time; zero: the clock's.
	Now time.Time
}

// Result is what Build made.
type Result struct {
	Zip         string         `json:"zip"`
	Size        int64          `json:"size"` // of Zip, in bytes
	Manifest    string         `json:"manifest"`
	PackageJSON string         `json:"packageJson,omitempty"` // unsigned builds only
	Signed      bool           `json:"signed"`
	List        *verifier.List `json:"-"`
}

// Build makes the package out, usually .../arch_x86_64/updates.zip, and beside
// it the unsigned manifest.json that the vendor's tools read. Directories above
// out are created. Without a signer the archive has no list, and package.json
// beside it is what has to be signed and given to Attach. Endpoints refuse an
// unsigned package, so make it outside of the tree that is served.
//
// Errors: usage for what would strand endpoints and for bad input; the
// verifier's codes where an endpoint would refuse the signer or the result;
// disk_full, permission_denied, interrupted.
func Build(ctx context.Context, out string, o BuildOptions, sign *Signer) (Result, error) {
	o = o.withDefaults()
	if err := o.check(out, sign); err != nil {
		return Result{}, err
	}
	dir := filepath.Dir(out)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Result{}, fileError("the output directory", dir, err)
	}
	pending, err := newPending(out)
	if err != nil {
		return Result{}, fileError("the output", out, err)
	}
	defer pending.Cleanup()
	list, err := o.write(ctx, pending, sign)
	if err != nil {
		return Result{}, fileError("the output", out, err)
	}
	if err := checkResult(ctx, pending, list, sign, o.Now); err != nil {
		return Result{}, fileError("the output", out, err)
	}
	return publish(pending, out, list, sign != nil)
}

func (o BuildOptions) withDefaults() BuildOptions {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Issued.IsZero() {
		o.Issued = o.Now
	}
	if o.Released.IsZero() {
		o.Released = o.Issued
	}
	if o.Expires.IsZero() {
		o.Expires = o.Issued.Add(DefaultValidity)
	}
	if o.Level == 0 {
		o.Level = defaultLevel
	}
	return o
}

// list is the list as far as the options tell it, without files.
func (o BuildOptions) list() *verifier.List {
	whole := func(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
	return &verifier.List{
		Product: o.Product, Platform: o.Platform, Arch: o.Arch, Rings: o.Rings,
		Engine: o.Engine, Definition: o.Definition,
		Released: whole(o.Released), Issued: whole(o.Issued), Expires: whole(o.Expires),
	}
}

// check makes all decisions that need no file of the package, so that a mistake
// shows before a gigabyte is compressed.
func (o BuildOptions) check(out string, sign *Signer) error {
	if o.Level < flate.BestSpeed || o.Level > flate.BestCompression {
		return usage("the level of compression is not 1 to 9", "give 1 (fast) to 9 (small)", nil)
	}
	probe := o.list()
	if err := checkDates(probe, o.Now); err != nil {
		return err
	}
	probe.Files = []verifier.File{{Name: "probe"}}
	if _, err := verifier.MarshalList(probe); err != nil {
		return badList(err)
	}
	if sameDir(o.Dir, filepath.Dir(out)) {
		return usage("the output would lie in the directory of the package", "give another --out than into "+printable.Quote(o.Dir), nil)
	}
	previous, err := o.previous(out)
	if err != nil {
		return err
	}
	if err := checkSuccession(probe, previous, o.Force); err != nil || sign == nil {
		return err
	}
	chain, err := sign.check(later(o.Now, o.Issued))
	if err != nil {
		return err
	}
	return checkChainEnd(probe, chain)
}

func badList(err error) error {
	return usage("the options make no valid list", "check product, platform, architecture, rings, versions and file names", err)
}

func sameDir(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// previous finds the list that is about to be replaced. An archive without any
// list has none.
func (o BuildOptions) previous(out string) (*verifier.List, error) {
	if o.Previous != nil {
		return o.Previous, nil
	}
	if _, err := os.Lstat(out); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	list, err := ReadList(out)
	var refusal *verifier.Refusal
	switch {
	case err == nil:
		return list, nil
	case errors.As(err, &refusal) && refusal.Code == verifier.SignatureMissing, o.Force:
		return nil, nil
	}
	return nil, usage("the package that would be replaced can not be read", "give the list before it with --previous, or --force if there is none", err)
}

// write writes the archive and gives its list.
func (o BuildOptions) write(ctx context.Context, pending *pendingFile, sign *Signer) (*verifier.List, error) {
	w, err := newArchiveWriter(pending, filepath.Dir(pending.Name()), o.Level)
	if err != nil {
		return nil, err
	}
	defer w.scratch.Close()
	list := o.list()
	if list.Files, err = o.addFiles(ctx, w); err != nil {
		return nil, err
	}
	if _, err := verifier.MarshalList(list); err != nil {
		return nil, badList(err)
	}
	if sign != nil {
		object, err := SignList(list, *sign)
		if err != nil {
			return nil, err
		}
		if err := addList(w.zip, object); err != nil {
			return nil, err
		}
	}
	return list, w.zip.Close()
}

func (o BuildOptions) addFiles(ctx context.Context, w *archiveWriter) (files []verifier.File, err error) {
	names, err := sourceFiles(o.Dir)
	if err != nil {
		return nil, fileError("the directory of the package", o.Dir, err)
	}
	left := int64(verifier.MaxContentSize)
	for _, name := range names {
		file, err := o.addFile(ctx, w, name, left)
		if err != nil {
			return nil, err
		}
		left -= file.Size
		files = append(files, file)
	}
	return files, nil
}

// addFile adds one file, which must not have more than left bytes.
func (o BuildOptions) addFile(ctx context.Context, w *archiveWriter, name string, left int64) (verifier.File, error) {
	src, size, err := openRegular("a file of the package", filepath.Join(o.Dir, name))
	if err != nil {
		return verifier.File{}, err
	}
	defer src.Close()
	if size > left {
		return verifier.File{}, tooLarge()
	}
	return w.addFile(ctx, name, src, size)
}

// checkResult reads the finished archive back and judges it as an endpoint
// would that trusts the signer. What an endpoint would refuse is not published.
func checkResult(ctx context.Context, f *pendingFile, list *verifier.List, sign *Signer, now time.Time) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	layout, err := ReadLayout(f, info.Size())
	if err != nil {
		return err
	}
	if sign != nil {
		object, err := ReadInside(f, layout)
		if err != nil {
			return err
		}
		trust, err := sign.trust()
		if err != nil {
			return err
		}
		signed, err := trust.Verify(object, now)
		if err != nil {
			return err
		}
		list = signed.List
	}
	return checkContent(ctx, f, layout, list)
}

// publish puts the files in place: the archive first, since endpoints read
// nothing else.
func publish(pending *pendingFile, out string, list *verifier.List, signed bool) (Result, error) {
	info, err := pending.Stat()
	if err != nil {
		return Result{}, fileError("the output", out, err)
	}
	dir := filepath.Dir(out)
	r := Result{Zip: out, Size: info.Size(), Manifest: filepath.Join(dir, "manifest.json"), Signed: signed, List: list}
	if err := commit(pending, out); err != nil {
		return Result{}, fileError("the output", out, err)
	}
	manifest, err := manifestOf(versions{list.Engine, list.Definition})
	if err != nil {
		return r, fileError("the manifest", r.Manifest, err)
	}
	if err := replace(r.Manifest, manifest); err != nil || signed {
		return r, fileError("the manifest", r.Manifest, err)
	}
	r.PackageJSON = filepath.Join(dir, "package.json")
	data, err := verifier.MarshalList(list)
	if err != nil {
		return r, badList(err)
	}
	return r, fileError("package.json", r.PackageJSON, replace(r.PackageJSON, data))
}

// manifestOf writes manifest.json as the vendor's own tools do.
func manifestOf(v versions) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct{ EngineVersion, DefinitionVersion verifier.Version }{v.Engine, v.Definition})
	return b.Bytes(), err
}
