package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/vendorsig"
)

// FileKind is what a file of a package is, by its first bytes.
type FileKind string

// The kinds of files.
const (
	KindPE        FileKind = "pe"
	KindELF       FileKind = "elf"
	KindSignature FileKind = "signature" // NAME.sig of another file
	KindOther     FileKind = "other"
)

// VerdictGood is the verdict on a file whose signature holds. Others are reason codes.
const VerdictGood = "good"

// sigSuffix is what a signature's name has behind that of its file.
const sigSuffix = ".sig"

// VendorFile is what was found out about one file and its vendor's signature. Unless
// the verdict is good, signer, time stamp and version are what somebody wrote. Texts
// are fit to be shown.
type VendorFile struct {
	Name      string            `json:"name"`
	Kind      FileKind          `json:"kind"`
	Size      int64             `json:"size"` // bytes
	SHA256    verifier.Digest   `json:"-"`
	Hex       string            `json:"sha256"`
	Signature vendorsig.Kind    `json:"signature"`
	Signer    string            `json:"signer,omitempty"`
	Issuer    string            `json:"issuer,omitempty"`
	Pin       string            `json:"pin,omitempty"` // of the signer
	IssuerPin string            `json:"issuerPin,omitempty"`
	VendorPin string            `json:"vendorPin,omitempty"` // of the signer, as agent.trust.vendorPins has it
	TimeStamp *time.Time        `json:"timeStamp"`           // null: there is none
	Version   *verifier.Version `json:"fileVersion"`         // null: the file has none
	Verdict   string            `json:"verdict"`             // good, or a reason code
	Problem   *Problem          `json:"problem"`             // null where it is good

	examined vendorsig.Examined
}

// Examiner looks at the files of packages, one after the other, and judges their
// vendors' signatures.
type Examiner struct {
	trust   verifier.Trust
	clock   verifier.Clock
	scratch *os.File
}

// NewExaminer gives an examiner that believes whom trust says, who may be nobody:
// then no file is good. Each file is written into a nameless file in dir, since
// judging it takes more than one pass. Close gives the room back.
func NewExaminer(dir string, trust verifier.Trust, now time.Time) (*Examiner, error) {
	scratch, err := scratchFile(dir)
	if err != nil {
		return nil, fileError("the copy of a file", dir, err)
	}
	return &Examiner{trust, verifier.NewClock(now, time.Time{}, time.Time{}), scratch}, nil
}

// Close ends the examiner.
func (x *Examiner) Close() error { return x.scratch.Close() }

// Examine reads one file. sig is the content of its NAME.sig, nil where there is
// none. An error is the one that content gave, or that the copy could not be
// written; what is wrong with the file is its verdict.
func (x *Examiner) Examine(name string, content io.Reader, sig []byte) (VendorFile, error) {
	if err := x.scratch.Truncate(0); err != nil {
		return VendorFile{}, fileError("the copy of a file", x.scratch.Name(), err)
	}
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(sum, &copyWriter{to: x.scratch}), io.LimitReader(content, verifier.MaxContentSize+1))
	if err != nil {
		return VendorFile{}, err
	}
	if size > verifier.MaxContentSize {
		return VendorFile{}, tooLarge()
	}
	f := x.judge(name, x.scratch, size, sig)
	f.SHA256 = verifier.Digest(sum.Sum(nil))
	f.Hex = hex.EncodeToString(f.SHA256[:])
	return f, nil
}

// copyWriter writes from the beginning of the scratch file, and says what it means
// where that fails.
type copyWriter struct {
	to *os.File
	at int64
}

func (w *copyWriter) Write(p []byte) (int, error) {
	n, err := w.to.WriteAt(p, w.at)
	w.at += int64(n)
	return n, fileError("the copy of a file", w.to.Name(), err)
}

// judge judges content at hand. Its digest is not taken here.
func (x *Examiner) judge(name string, content io.ReaderAt, size int64, sig []byte) VendorFile {
	f := VendorFile{Name: printable.Text(name, maxName), Kind: KindOther, Size: size}
	f.examined = vendorsig.Examine(name, vendorsig.File{Content: content, Size: size, Sig: sig}, x.trust, x.clock)
	s, own := f.examined.Signature, f.examined.Own
	f.Signature = s.Kind
	f.judged(f.examined.Err)
	f.Signer, f.Issuer = s.Signer.Subject, s.Signer.Issuer
	if s.Signer.Certificate != nil {
		f.Pin, f.IssuerPin, f.VendorPin = s.Signer.Pin.String(), s.Signer.IssuerPin(), s.Signer.PinText()
	}
	if s.TimeStamp != nil {
		at := s.TimeStamp.Time.UTC()
		f.TimeStamp = &at
	}
	switch {
	case own.ELF:
		f.Kind = KindELF
	case own.PE:
		f.Kind = KindPE
		if own.Err == nil {
			f.Version = &own.Version
		}
	}
	return f
}

// judged makes an error the verdict. One without a reason comes from reading our own
// copy.
func (f *VendorFile) judged(err error) {
	if f.Verdict, f.Problem = VerdictGood, nil; err == nil {
		return
	}
	code, sentence, hint := reasonOf(fileError("the copy of a file", f.Name, err))
	f.Verdict, f.Problem = code, &Problem{code, sentence, hint}
}

// SettleFiles judges what can only be told of all files of a package together, once
// each was examined, as [vendorsig.Settle] does.
func SettleFiles(files []VendorFile) {
	names := map[string]bool{}
	for _, f := range files {
		names[f.examined.Name] = true
	}
	for i, err := range vendorsig.Settle(examined(files)) {
		files[i].judged(err)
		if of, isSig := strings.CutSuffix(files[i].examined.Name, sigSuffix); isSig && names[of] {
			files[i].Kind = KindSignature
		}
	}
}

func examined(files []VendorFile) (all []vendorsig.Examined) {
	for _, f := range files {
		all = append(all, f.examined)
	}
	return all
}

// CheckVendor refuses a package unless every file's signature is good, with the
// verdict on the first that is not, and unless the files belong together and are what
// their list says, for that architecture and of that version: what passes is what
// endpoints accept that ask for the vendor's signatures, where they have pins for its
// signers.
func CheckVendor(files []VendorFile, arch string, definition verifier.Version) error {
	said, err := checkTogether(files, arch)
	if err != nil {
		return err
	}
	if said != definition {
		return &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: fmt.Sprintf("the vendor signed definitions %s, and the list says %s", said, definition),
			Hint: "endpoints that ask for the vendor's signatures take only a list that says the same"}
	}
	return nil
}

// checkTogether is what CheckVendor asks of the files alone. It gives the version of the
// definitions that they are.
func checkTogether(files []VendorFile, arch string) (verifier.Version, error) {
	var none verifier.Version
	for _, f := range files {
		if f.Problem != nil {
			return none, &verifier.Refusal{Code: verifier.Code(f.Problem.Code), Sentence: "the vendor's signature of a file does not hold, since " + f.Problem.Message,
				Hint: "look at " + printable.Quote(f.Name) + "; " + f.Problem.Hint}
		}
	}
	if _, err := vendorsig.EngineArch(examined(files)); err != nil {
		return none, err
	}
	if err := checkMachine(files, arch); err != nil {
		return none, err
	}
	said, err := vendorsig.DefinitionVersion(examined(files))
	if err == nil && said.IsZero() {
		err = &verifier.Refusal{Code: verifier.PackageMalformed, Sentence: "the package has no definitions whose version is signed", Hint: "get the package from its vendor anew"}
	}
	return said, err
}

// VerifyVendor judges a package by its vendor's signatures alone, as endpoints with the
// profile vendor do, but for their pins and for the names of its files: there is no list,
// every file is good, and they belong together and are for that architecture. It gives
// the files, as far as they could be read, also with a refusal.
func VerifyVendor(ctx context.Context, path, arch string, trust verifier.Trust, now time.Time) ([]VendorFile, verifier.Version, error) {
	var none verifier.Version
	a, err := openArchive(path)
	if err != nil {
		return nil, none, err
	}
	defer a.file.Close()
	if _, err := a.layout.PlainFiles(); err != nil {
		return nil, none, err
	}
	files, err := examineArchive(ctx, a, trust, now)
	if err != nil {
		return nil, none, err
	}
	said, err := checkTogether(files, arch)
	return files, said, err
}

// examine reads all files of an archive. The error is the first thing because of
// which they can't be read.
func (x *Examiner) examine(ctx context.Context, a *archive) (files []VendorFile, err error) {
	sigs, err := ReadSignatures(a.layout.Entries, func(e verifier.Entry) (io.ReadCloser, error) {
		content, err := readEntry(ctx, a.file, e)
		return io.NopCloser(content), err
	})
	if err != nil {
		return nil, err
	}
	for _, e := range a.layout.Entries {
		if !IsFile(e) {
			continue
		}
		content, err := readEntry(ctx, a.file, e)
		if err != nil {
			return nil, err
		}
		f, err := x.Examine(e.Name, e.Summed(content), sigs[e.Name])
		if err != nil {
			return nil, err
		}
		if f.Size != e.Size {
			return nil, &verifier.Refusal{Code: verifier.PackageMalformed, Sentence: "an entry has another size than the archive says", Hint: "get the package anew"}
		}
		files = append(files, f)
	}
	SettleFiles(files)
	return files, nil
}

// IsFile tells the files of a package from directories and from its signed list.
func IsFile(e verifier.Entry) bool {
	return !strings.HasSuffix(e.Name, "/") && e.Name != verifier.ListEntry
}

// ReadSignatures reads the signatures that lie beside other files of an archive, by
// the names of these. They are small, and the files can't be judged without them.
func ReadSignatures(entries []verifier.Entry, open func(verifier.Entry) (io.ReadCloser, error)) (map[string][]byte, error) {
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name] = true
	}
	sigs := map[string][]byte{}
	for _, e := range entries {
		name, isSig := strings.CutSuffix(e.Name, sigSuffix)
		if !isSig || !names[name] {
			continue
		}
		content, err := open(e)
		if err != nil {
			return nil, err
		}
		sigs[name], err = readSig(content)
		if err := errors.Join(err, content.Close()); err != nil {
			return nil, err
		}
	}
	return sigs, nil
}

// ExamineFile judges a file that lies alone on disk, with NAME.sig beside it where
// that is there. Its name may be any.
func ExamineFile(path string, trust verifier.Trust, now time.Time) (VendorFile, error) {
	file, size, err := openRegular("the file", path)
	if err != nil {
		return VendorFile{}, err
	}
	defer file.Close()
	sig, err := sigBeside(path + sigSuffix)
	if err != nil {
		return VendorFile{}, err
	}
	x := Examiner{trust: trust, clock: verifier.NewClock(now, time.Time{}, time.Time{})}
	f := x.judge(filepath.Base(path), file, size, sig)
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, size)); err != nil {
		return VendorFile{}, fileError("the file", path, err)
	}
	f.SHA256 = verifier.Digest(sum.Sum(nil))
	f.Hex = f.SHA256.String()
	return f, nil
}

// sigBeside gives nil where there is no signature.
func sigBeside(path string) ([]byte, error) {
	f, _, err := openRegular("the signature", path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sig, err := readSig(f)
	return sig, fileError("the signature", path, err)
}

// readSig reads a signature, which is not nil where it is empty. One byte more than
// one may have shows that it has too many.
func readSig(content io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(content, vendorsig.MaxSignature+1))
}

// AloneFile tells whether a path is to be judged as a single file of a vendor's, and
// not as a package or a list: it is a PE or ELF file, or has its signature beside it
// and is no archive.
func AloneFile(path string) bool {
	f, _, err := openRegular("the file", path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [2]byte
	_, _ = f.ReadAt(head[:], 0) // a shorter file is neither
	if string(head[:]) == "PK" || strings.HasSuffix(path, sidecarSuffix) {
		return false
	}
	_, err = os.Lstat(path + sigSuffix)
	return err == nil || string(head[:]) == "MZ" || string(head[:]) == "\x7fE"
}

// ExaminePackage judges the files of an archive on disk, whether or not there is a
// signed list. Copies are made in the directory for temporary files.
func ExaminePackage(ctx context.Context, path string, trust verifier.Trust, now time.Time) ([]VendorFile, error) {
	a, err := openArchive(path)
	if err != nil {
		return nil, err
	}
	defer a.file.Close()
	return examineArchive(ctx, a, trust, now)
}

func examineArchive(ctx context.Context, a *archive, trust verifier.Trust, now time.Time) ([]VendorFile, error) {
	x, err := NewExaminer("", trust, now)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	files, err := x.examine(ctx, a)
	return files, fileError("the package", a.path, err)
}

// checkMachine refuses an engine that is made for another architecture.
func checkMachine(files []VendorFile, arch string) error {
	for _, f := range files {
		if own := f.examined.Own; own.ELF && own.Arch != arch {
			return &verifier.Refusal{Code: verifier.WrongPlatform, Sentence: "the engine is not made for the architecture " + arch, Hint: "look which package lies in the directory of this architecture"}
		}
	}
	return nil
}

// stamped is the vendor's word for when the definitions were made: the newest time
// stamp, where each definition file is good and has one.
func stamped(files []VendorFile) (at time.Time, ok bool) {
	for _, f := range files {
		if !vendorsig.IsDefinitions(f.Name) {
			continue
		}
		if f.Verdict != VerdictGood || f.TimeStamp == nil {
			return time.Time{}, false
		}
		at = later(at, *f.TimeStamp)
	}
	return at, !at.IsZero()
}
