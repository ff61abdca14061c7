package mirror

import (
	"archive/zip"
	"context"
	"crypto/x509"
	"io"
	"os"
	"time"

	"mdatp-offline-agent/verifier"
)

// AttachOptions says how strictly Attach looks at the signed list.
type AttachOptions struct {
	// Trust is what endpoints trust; nil: only form and fit are checked, and not
	// who signed.
	Trust *verifier.Trust
	// Now is the publisher's time; zero: the clock's.
	Now time.Time
}

// Attach puts the signed list p7m, which openssl cms or a hardware module made,
// into the unsigned archive zipPath as its last entry, and replaces the archive
// at once or not at all. Before that it checks that the list is about exactly
// these files and that endpoints will accept the result. An archive that has
// entries below META/, extra fields or data descriptors is refused.
//
// Errors: usage, the verifier's codes, disk_full, permission_denied,
// interrupted.
func Attach(ctx context.Context, zipPath string, p7m []byte, o AttachOptions) error {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	a, err := openArchive(zipPath)
	if err != nil {
		return err
	}
	defer a.file.Close()
	if a.layout.HasMeta() {
		return usage("the archive has a signed list already", "build it again with --unsigned", nil)
	}
	list, err := o.judge(p7m)
	if err != nil {
		return err
	}
	pending, err := newPending(zipPath)
	if err != nil {
		return fileError("the package", zipPath, err)
	}
	defer pending.Cleanup()
	if err := copyWithList(ctx, pending, a, p7m); err != nil {
		return fileError("the package", zipPath, err)
	}
	if err := checkAttached(ctx, pending.File, list); err != nil {
		return fileError("the package", zipPath, err)
	}
	return fileError("the package", zipPath, commit(pending, zipPath))
}

// checkAttached reads the finished archive back, and judges it by the rules for
// archives with a list inside. Whether the list is believed is judge's part.
func checkAttached(ctx context.Context, f *os.File, list *verifier.List) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	layout, err := ReadLayout(f, info.Size())
	if err != nil {
		return err
	}
	if _, err := ReadInside(f, layout); err != nil {
		return err
	}
	return checkContent(ctx, f, layout, list)
}

// judge reads the list, checks its dates against clock and signer, and where
// endpoints' trust is at hand, the signer too.
func (o AttachOptions) judge(p7m []byte) (*verifier.List, error) {
	var list *verifier.List
	var chain []*x509.Certificate
	if o.Trust == nil {
		claims, err := verifier.ReadClaims(p7m)
		if err != nil {
			return nil, err
		}
		list, chain = claims.List, []*x509.Certificate{claims.Leaf}
	} else {
		signed, err := verifySigned(*o.Trust, p7m, o.Now)
		if err != nil {
			return nil, err
		}
		list, chain = signed.List, signed.Chain
	}
	if err := checkDates(list, o.Now); err != nil {
		return nil, err
	}
	return list, checkChainEnd(list, chain)
}

// copyWithList copies the archive entry by entry, compressed as they are, and
// adds the list.
func copyWithList(ctx context.Context, to io.Writer, a *archive, p7m []byte) error {
	from, err := zip.NewReader(a.file, a.size) // the verifier has bounded and checked its layout
	if err != nil {
		return err
	}
	w := zip.NewWriter(to)
	for _, f := range from.File {
		raw, err := f.OpenRaw()
		if err != nil {
			return err
		}
		h := f.FileHeader
		out, err := w.CreateRaw(&h)
		if err != nil {
			return err
		}
		if _, err := io.Copy(out, contextReader{ctx, raw}); err != nil {
			return err
		}
	}
	if err := addList(w, p7m); err != nil {
		return err
	}
	return w.Close()
}
