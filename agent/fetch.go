package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/verifier"
)

// large is from how many bytes on, as the source has them, an entry comes by a
// range of its own. Smaller neighbours come together.
const large = 4 << 20

// length is how many bytes of the archive an entry takes.
func (p part) length() int64 { return p.entry.End - p.entry.Offset }

// origin names the package's bytes for parts of it that are kept from one run to
// the next; nil where the source can't promise that they will be the same, or
// where the package lies on this disk as a whole already.
func (at *attempt) origin(n *news) *engine.Origin {
	version := n.pkg.Version()
	if version == "" || at.spooled {
		return nil
	}
	return &engine.Origin{Source: at.key, Version: version}
}

// fetch is step 6. Inflating and hashing are what costs, so each core takes
// files of its own.
func (at *attempt) fetch(ctx context.Context, staging *engine.Staging, n *news, p plan) error {
	fetchers, ctx := errgroup.WithContext(ctx)
	fetchers.SetLimit(min(4, runtime.GOMAXPROCS(0)))
	var reused atomic.Int64
	for _, file := range p.atHand {
		fetchers.Go(func() error {
			ok, err := reuseFrom(ctx, staging, file, p.from)
			if ok {
				reused.Add(file.Size)
			}
			if ok || err != nil {
				return err
			}
			return at.fetchDamaged(ctx, staging, n, file)
		})
	}
	for _, run := range runs(p.fetch) {
		fetchers.Go(func() error { return at.fetchRun(ctx, staging, n, run) })
	}
	err := fetchers.Wait()
	at.result.BytesReused = reused.Load() // of the last try, where there were more
	at.result.Resumed = at.result.Resumed || at.tally.Resumed.Load()
	return err
}

// fetchDamaged fetches a file whose installed copy turned out not to be it.
func (at *attempt) fetchDamaged(ctx context.Context, staging *engine.Staging, n *news, file verifier.File) error {
	everything, err := planFor(n, nil)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(everything.fetch, func(p part) bool { return p.file == file })
	return at.fetchRun(ctx, staging, n, everything.fetch[i:i+1])
}

// runs puts small entries that follow each other in the archive together, so
// that they come by one request.
func runs(parts []part) [][]part {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b part) int { return int(a.entry.Offset - b.entry.Offset) })
	var all [][]part
	for _, p := range parts {
		if last := len(all) - 1; last >= 0 && joins(all[last], p) {
			all[last] = append(all[last], p)
			continue
		}
		all = append(all, []part{p})
	}
	return all
}

// joins tells whether an entry follows a run at once and neither is large.
func joins(run []part, next part) bool {
	return run[len(run)-1].entry.End == next.entry.Offset && next.length() < large && runLength(run) < large
}

// fetchRun brings entries that lie next to each other into staging, by one
// range. Where the source can promise that the same bytes will be there the next
// time, they are kept as they come, and a run that was broken off goes on behind
// them. Nothing that was kept is believed before each file's hash agrees: where
// one does not, or what was kept can't be read, the rest of the run comes anew.
func (at *attempt) fetchRun(ctx context.Context, staging *engine.Staging, n *news, run []part) error {
	if at.keep == nil {
		_, err := at.stageRun(ctx, staging, n, run, nil)
		return err
	}
	kept, err := at.session.dir.Part(*at.keep, fmt.Sprintf("from-%d", run[0].entry.Offset), runLength(run))
	if err != nil {
		return err
	}
	defer kept.Close()
	resumed := kept.Size() > 0
	if resumed {
		at.tally.Resumed.Store(true)
	}
	staged, err := at.stageRun(ctx, staging, n, run, kept)
	var refused *verifier.Refusal
	if !errors.As(err, &refused) && !kept.Unreadable() {
		return err
	}
	if err := kept.Reset(); err != nil {
		return err
	}
	if resumed {
		_, err = at.stageRun(ctx, staging, n, run[staged:], nil)
	}
	return err
}

// stageRun stages a run out of what was kept of it, if anything, and what the
// source has of the rest. It gives how many entries were staged.
func (at *attempt) stageRun(ctx context.Context, staging *engine.Staging, n *news, run []part, kept *engine.Part) (staged int, err error) {
	var have int64
	var stream io.Reader = strings.NewReader("")
	if kept != nil {
		have, stream = kept.Size(), kept.Reader()
	}
	if rest := runLength(run) - have; rest > 0 {
		at.expectRange(rest)
		more, err := n.pkg.Range(ctx, run[0].entry.Offset+have, rest)
		if err != nil {
			return 0, err
		}
		defer more.Close()
		var coming io.Reader = more
		if kept != nil {
			coming = io.TeeReader(more, kept)
		}
		stream = io.MultiReader(stream, coming)
	}
	for i, p := range run {
		if err := stage(ctx, staging, p, stream); err != nil {
			return i, err
		}
	}
	return len(run), nil
}

// runLength is how many bytes of the archive a run takes.
func runLength(run []part) int64 { return run[len(run)-1].entry.End - run[0].entry.Offset }

// stage takes one entry out of a stream that stands at its beginning, and leaves
// the stream at its end.
func stage(ctx context.Context, staging *engine.Staging, p part, region io.Reader) error {
	content, err := p.entry.Open(region)
	if err != nil {
		return err
	}
	if p.unlisted {
		return staging.Receive(ctx, p.file.Name, p.entry.Summed(content))
	}
	return staging.Write(ctx, p.file, content)
}

// expectRange says that a range is about to come, unless all came before.
func (at *attempt) expectRange(bytes int64) {
	if !at.spooled {
		at.expect(bytes)
	}
}
