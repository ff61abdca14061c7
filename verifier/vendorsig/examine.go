package vendorsig

import (
	"cmp"
	"debug/elf"
	"fmt"
	"io"
	"slices"
	"strings"

	"mdatp-offline-agent/verifier"
)

// Examined is one file of a package, judged by itself.
type Examined struct {
	Name      string
	Signature Signature
	Err       error // why the signature is not good, as [Verify] has it; nil: it is
	Own       Own
}

// Own is what a file says of itself, which is as true as its signature is good.
type Own struct {
	Name    string           // OriginalFilename, or DT_SONAME of a signed ELF file; empty: it says none
	Version verifier.Version // of a PE file, by its version resource; zero: unknown
	PE, ELF bool             // it begins like one
	Arch    string           // of an ELF file, as mirrors spell it; empty: unknown
	Err     error            // why it can't be read; nil also where there is nothing to be read
}

// Examine judges a file of a package by itself. What can only be told of all files
// together is for [Settle], [EngineArch] and [DefinitionVersion]. What reading the file
// gave, wherever that was, is no verdict on it, and comes as Err.
func Examine(name string, f File, trust verifier.Trust, clock verifier.Clock) Examined {
	r := &reading{of: f.Content}
	f.Content = r
	s, err := Verify(f, trust, clock)
	own := readOwn(f, s.Kind == Detached && err == nil)
	return Examined{name, s, cmp.Or(r.failed, err), own}
}

// reading remembers why a file could not be read.
type reading struct {
	of     io.ReaderAt
	failed error
}

func (r *reading) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.of.ReadAt(p, off)
	if err != io.EOF {
		r.failed = cmp.Or(r.failed, err)
	}
	return n, err
}

// readOwn reads what a file says of itself. More than the header of an ELF file is
// read only where the vendor signed it, since the library is made for honest files.
func readOwn(f File, honest bool) (own Own) {
	const machineAt, enough = 18, 20
	var head [enough]byte
	n, _ := f.Content.ReadAt(head[:], 0) // a short file has less of it, and who calls sees what else went wrong
	switch {
	case n >= 2 && string(head[:2]) == "MZ":
		own.PE = true
		var r Resource
		r, own.Err = ReadResource(f.Content, f.Size)
		own.Name, own.Version = r.OriginalFilename, r.FileVersion
	case n == enough && string(head[:len(elf.ELFMAG)]) == elf.ELFMAG:
		own.ELF, own.Arch = true, map[elf.Machine]string{elf.EM_X86_64: "x86_64", elf.EM_AARCH64: "arm64"}[elf.Machine(le16(head[machineAt:]))]
		if honest {
			own.Name, own.Err = soName(f)
		}
	}
	return own
}

// soName is the name that an ELF file has where its linker gave it one.
func soName(f File) (string, error) {
	unread := refuse(verifier.PackageMalformed, "it is not built as an ELF file is", hintUncovered)
	file, err := elf.NewFile(io.NewSectionReader(f.Content, 0, f.Size))
	if err != nil {
		return "", unread
	}
	defer file.Close()
	names, err := file.DynString(elf.DT_SONAME)
	if len(names) == 0 { // also where there is no dynamic section
		return "", nil
	}
	if err != nil || len(names) > 1 {
		return "", unread
	}
	return names[0], nil
}

// Settle judges what can only be told of all files of a package together: each
// must bear the name under which it was signed, and a signature beside a file is as
// good as that file. For each file it gives why it is not good; nil: it is.
func Settle(files []Examined) []error {
	at := map[string]*Examined{}
	for i := range files {
		at[files[i].Name] = &files[i]
	}
	verdicts := make([]error, len(files))
	for i := range files {
		f := &files[i]
		switch of := signed(f.Name, at); {
		case of == nil:
			verdicts[i] = f.verdict()
		case of.Signature.Kind == Authenticode || signed(of.Name, at) != nil:
			verdicts[i] = refuse(verifier.SignatureMissing, "it is a signature by which no file is judged", hintUncovered)
		default:
			verdicts[i] = of.verdict()
		}
	}
	return verdicts
}

// signed is the file beside which the one of that name lies as its signature; nil:
// that is none.
func signed(name string, at map[string]*Examined) *Examined {
	stem, ok := strings.CutSuffix(name, sigSuffix)
	if !ok {
		return nil
	}
	return at[stem]
}

// verdict tells whether a file that is no signature is good under its name. Only ELF
// files may have their signature beside them: of others nothing would say which file
// of the vendor's they are. One says it where it has a name of its own, and there is
// one in a package.
func (e *Examined) verdict() error {
	detached := e.Signature.Kind == Detached
	switch {
	case e.Err != nil:
		return e.Err
	case detached && !e.Own.ELF:
		return refuse(verifier.PackageMalformed, "nothing in it says under which name it was signed", hintUncovered)
	case e.Own.Err != nil:
		return e.Own.Err
	case detached && e.Own.Name == "":
		return nil
	case detached && e.Own.Name != e.Name, !detached && !strings.EqualFold(e.Own.Name, e.Name):
		return refuse(verifier.ContentMismatch, "it was signed under another name", "somebody exchanged or renamed files of the package, so get it from its vendor anew")
	}
	return nil
}

// EngineArch is the architecture of the package's engine, which is its one ELF file.
func EngineArch(files []Examined) (string, error) {
	engines := slices.DeleteFunc(slices.Clone(files), func(e Examined) bool { return !e.Own.ELF })
	switch {
	case len(engines) == 0:
		return "", refuse(verifier.PackageMalformed, "the package has no engine", hintUncovered)
	case len(engines) > 1:
		return "", refuse(verifier.PackageMalformed, "the package has more than one engine", hintUncovered)
	case engines[0].Own.Arch == "":
		return "", refuse(verifier.WrongPlatform, "the engine is for an unknown architecture", hintUncovered)
	}
	return engines[0].Own.Arch, nil
}

// DefinitionVersion is the version of the package's definitions, which is the one of
// those that are no base; zero: none of them says one. Bases are of one version, and the
// others of one that is not below it and agrees in its first two numbers: what is added
// to a base must be made for it.
func DefinitionVersion(files []Examined) (verifier.Version, error) {
	var base, delta, none verifier.Version
	silent := false
	for _, f := range files {
		if !IsDefinitions(f.Name) {
			continue
		}
		of := &delta
		if strings.HasSuffix(strings.ToLower(f.Name), baseSuffix) {
			of = &base
		}
		switch v := f.Own.Version; {
		case v == none:
			silent = true
		case *of != none && *of != v:
			return none, mixed(*of, v)
		default:
			*of = v
		}
	}
	switch {
	case silent && (base != none || delta != none):
		return none, refuse(verifier.ContentMismatch, "only some of the definition files say their version", hintMixed)
	case delta == none:
		return base, nil
	case base != none && (base.Compare(delta) > 0 || !slices.Equal(base[:2], delta[:2])):
		return none, mixed(base, delta)
	}
	return delta, nil
}

// IsDefinitions tells by its name whether a file of a package is one of definitions.
func IsDefinitions(name string) bool { return strings.HasSuffix(strings.ToLower(name), vdmSuffix) }

const hintMixed = "the package was put together from several, so get it from its vendor anew"

func mixed(a, b verifier.Version) error {
	return refuse(verifier.ContentMismatch, fmt.Sprintf("the definition files are of the versions %s and %s, which do not belong together", a, b), hintMixed)
}
