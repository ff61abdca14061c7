package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// roomReserve is what a download leaves free on the disk, in bytes.
const roomReserve = 16 << 20

// part is the file that the package comes into. Its name says which version of the
// object at which address it is, so that a later run goes on where this one stopped.
func (r *syncRun) part() string { return filepath.Join(r.place.work, r.partName) }

// download brings the package into the part and checks it. known is the validator of
// the package that is published, or zero. What was begun before and turns out bad is
// fetched anew, once: nobody had synced those bytes, or they are of two objects. What
// was refused before does not come again while it is the same.
func (r *syncRun) download(ctx context.Context, known source.Validator, offered versions) (v source.Validator, found finding, err error) {
	before, refused := r.refusedBefore(offered)
	if refused {
		known = before.Package
	}
	for again := false; ; again = true {
		v, err := r.transferOrWhole(ctx, known)
		if errors.Is(err, source.ErrNotModified) && refused {
			return v, finding{}, before.again()
		}
		if errors.Is(err, source.ErrNotModified) {
			return v, finding{}, r.stillOld(offered)
		}
		if err != nil {
			return v, finding{}, err
		}
		found, err := r.check.fresh(ctx, r.part(), r.syncPair, offered)
		if err == nil || ctx.Err() != nil {
			return v, found, err
		}
		if !r.wentOn || again {
			return v, finding{}, errors.Join(err, r.keepRefused(v, offered, err), os.Remove(r.part()))
		}
		if err := os.Remove(r.part()); err != nil {
			return v, finding{}, err
		}
	}
}

// transferOrWhole fetches by one plain request where ranges don't fit together, as
// they don't where several servers answer to one name.
func (r *syncRun) transferOrWhole(ctx context.Context, known source.Validator) (source.Validator, error) {
	v, err := r.transfer(ctx, source.Request{Known: known})
	var e *source.Error
	if errors.As(err, &e) && e.Code == source.CodeChanged {
		return r.transfer(ctx, source.Request{Whole: true})
	}
	return v, err
}

// transfer makes one attempt. What came stays for the next one, unless the disk is
// full. ErrNotModified says that the package is still the known one.
func (r *syncRun) transfer(ctx context.Context, request source.Request) (source.Validator, error) {
	from := r.source(r.zip)
	defer from.Close()
	request.Name, request.MaxBytes, request.Tally = source.PackageName, verifier.MaxArchiveSize, &r.tally
	pkg, err := from.Open(ctx, request)
	if err != nil {
		return source.Validator{}, byHand(r.zip, err)
	}
	defer pkg.Close()
	r.partName = partPrefix + cmp.Or(pkg.Version(), "once")
	if err := r.place.keepPart(r.partName); err != nil {
		return source.Validator{}, err
	}
	err = byHand(r.zip, r.fill(ctx, pkg))
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = errors.Join(err, os.Remove(r.part()))
	}
	return pkg.Validator(), err
}

// fill appends to the part what is still missing of the package, and syncs it.
func (r *syncRun) fill(ctx context.Context, pkg source.Package) error {
	f, err := os.OpenFile(r.part(), os.O_WRONLY|os.O_CREATE|os.O_APPEND|noFollow, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	have := info.Size()
	if pkg.Version() == "" || have > pkg.Size() {
		if have, err = 0, f.Truncate(0); err != nil {
			return err
		}
	}
	r.wentOn = have > 0
	r.result.Resumed = r.result.Resumed || r.wentOn
	if err := enoughRoom(r.place.work, pkg.Size()-have); err != nil {
		return err
	}
	body, err := pkg.Range(ctx, have, pkg.Size()-have)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(f, body); err != nil {
		return err
	}
	return f.Sync()
}

// enoughRoom looks before the first byte is written: nobody is to fill a disk that
// others live on.
func enoughRoom(dir string, need int64) error {
	free, known := freeBytes(dir)
	if !known || need <= 0 || free >= need+roomReserve {
		return nil
	}
	return &Error{Code: codeDiskFull, Sentence: fmt.Sprintf("%d MB are needed for a package, and %d MB are free", (need+roomReserve)/1e6, free/1e6),
		Hint: "make room on the file system of " + printable.Quote(dir)}
}

// spool makes room for a package from a server that gives it only as a whole.
func (r *syncRun) spool(size int64) (source.Spool, error) {
	if err := enoughRoom(r.place.work, size); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(r.place.work, "spool-*")
	if err != nil {
		return nil, err
	}
	return spool{f}, nil
}

// spool is a file that is gone when it is closed, or by the next run.
type spool struct{ *os.File }

// Write appends, and looks for room, since not every server says how much will come.
func (s spool) Write(p []byte) (int, error) {
	if err := enoughRoom(filepath.Dir(s.Name()), int64(len(p))); err != nil {
		return 0, err
	}
	return s.File.Write(p)
}

// Close removes the file.
func (s spool) Close() error { return errors.Join(s.File.Close(), os.Remove(s.Name())) }
