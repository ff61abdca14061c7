package power

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
)

// Job is what is at work when the power fails. Each of its functions is given the
// directory where the file system is mounted, which is always the same.
type Job struct {
	// Prepare fills the disk. It is on the medium, whole, before Run begins.
	Prepare func(ctx context.Context, dir string) error
	// Run does the work, and returns once it has told its user that it is done.
	Run func(ctx context.Context, dir string) error
	// Check looks at what a cut left. done says that the cut came after Run had
	// returned, so that its promise must hold.
	Check func(ctx context.Context, dir string, done bool) error
}

// Options say how much of a sweep to do.
type Options struct {
	Seed    uint64 // of what is chosen and what is lost
	Moments int    // how many moments to cut at, chosen by the seed; 0: all
}

// Result is what a sweep found.
type Result struct {
	FileSystem string   `json:"fileSystem"`
	Moments    int      `json:"moments"` // at which the power could be cut
	Flushes    int      `json:"flushes"` // by which the file system made writes last
	Cuts       int      `json:"cuts"`    // that were made
	Violations []string `json:"violations"`
}

// Sweep does the job once, cuts the power at its moments, and checks what each cut
// left: once with all that had been written, and once with a part of what no
// flush had made last. The error is one of the sweep itself. What did not hold is
// in the result, and so is a disk that can't be mounted any more.
func (l *Lab) Sweep(ctx context.Context, f FileSystem, j Job, o Options) (Result, error) {
	dir, err := l.Directory()
	if err != nil {
		return Result{}, err
	}
	defer os.Remove(dir)
	rec, done, err := l.record(ctx, f, j, dir)
	r := Result{FileSystem: f.Name, Violations: []string{}}
	if err != nil {
		return r, err
	}
	r.Moments, r.Flushes = rec.Moments(), rec.Flushes()
	for _, moment := range choose(rec.Moments(), done, o) {
		for _, lossy := range []bool{false, true} {
			if ctx.Err() != nil {
				return r, ctx.Err()
			}
			var lose *rand.Rand
			what := fmt.Sprintf("%s, cut at moment %d of %d", f.Name, moment, rec.Moments())
			if lossy {
				lose = rand.New(rand.NewPCG(o.Seed, uint64(moment)))
				what += fmt.Sprintf(" with unflushed writes lost by seed %d", o.Seed)
			}
			r.Cuts++
			if err := l.cut(ctx, f, rec.At(moment, lose), dir, func() error { return j.Check(ctx, dir, moment >= done) }); err != nil {
				r.Violations = append(r.Violations, what+": "+err.Error())
			}
		}
	}
	return r, nil
}

// record does the job and gives what happened to the disk, and the moment at
// which it was done.
func (l *Lab) record(ctx context.Context, f FileSystem, j Job, dir string) (rec *Recording, done int, err error) {
	disk, err := l.Format(ctx, f)
	if err != nil {
		return nil, 0, err
	}
	if err := l.cut(ctx, f, disk, dir, func() error { return j.Prepare(ctx, dir) }); err != nil {
		return nil, 0, fmt.Errorf("prepare: %w", err)
	}
	m, err := l.Mount(ctx, f, disk, dir)
	if err != nil {
		return nil, 0, err
	}
	disk.Record()
	err = j.Run(ctx, dir)
	done = disk.Moment()
	rec = disk.Stop()
	return rec, done, errors.Join(err, m.Unmount())
}

// cut mounts a disk on dir for as long as look looks at it.
func (l *Lab) cut(ctx context.Context, f FileSystem, d *Disk, dir string, look func() error) error {
	m, err := l.Mount(ctx, f, d, dir)
	if err != nil {
		return err
	}
	return errors.Join(look(), m.Unmount())
}

// choose gives the moments to cut at, in their order. The first, the last and the
// one at which the job was done are always among them.
func choose(moments, done int, o Options) []int {
	all := make([]int, moments)
	for i := range all {
		all[i] = i
	}
	if o.Moments == 0 || o.Moments >= moments {
		return all
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0))
	rng.Shuffle(moments, func(i, j int) { all[i], all[j] = all[j], all[i] })
	chosen := append(all[:max(o.Moments-3, 0)], 0, done, moments-1)
	slices.Sort(chosen)
	return slices.Compact(chosen)
}
