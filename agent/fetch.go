package agent

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"mdatp-offline-agent/agent/engine"
	"mdatp-offline-agent/verifier"
)

// large is from how many bytes on, as the source has them, an entry is fetched
// by itself and its bytes kept while they come. Smaller ones come again where a
// transfer breaks off.
const large = 4 << 20

// length is how many bytes of the archive an entry takes.
func (p part) length() int64 { return p.entry.End - p.entry.Offset }

// keeps tells whether the entry's bytes are kept while they come: only where
// the source can promise, by a version, that the rest will be of the same file.
func (p part) keeps(version string) bool { return version != "" && p.length() >= large }

// version names the package's bytes for parts of it that are kept from one run
// to the next; empty where the source can't promise anything.
func (at *attempt) version(n *news) string {
	v := n.pkg.Version()
	if v == "" {
		return ""
	}
	return at.key + " " + v
}

// fetch is step 6. Inflating and hashing are what costs, so each core takes
// files of its own.
func (at *attempt) fetch(ctx context.Context, staging *engine.Staging, n *news, p plan) error {
	fetchers, ctx := errgroup.WithContext(ctx)
	fetchers.SetLimit(min(4, runtime.GOMAXPROCS(0)))
	var reused atomic.Int64
	for _, file := range p.atHand {
		fetchers.Go(func() error {
			ok, err := staging.Reuse(ctx, file, at.session.current.set)
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
	at.result.BytesReused += reused.Load()
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
	first, last := run[0], run[len(run)-1]
	return last.entry.End == next.entry.Offset && next.length() < large && last.entry.End-first.entry.Offset < large
}

// fetchRun brings entries that lie next to each other into staging, by one
// range.
func (at *attempt) fetchRun(ctx context.Context, staging *engine.Staging, n *news, run []part) error {
	if version := at.version(n); len(run) == 1 && run[0].keeps(version) {
		return at.fetchLarge(ctx, staging, n, run[0], version)
	}
	start := run[0].entry.Offset
	length := run[len(run)-1].entry.End - start
	at.expectRange(length)
	region, err := n.pkg.Range(ctx, start, length)
	if err != nil {
		return err
	}
	defer region.Close()
	for _, p := range run {
		if err := stage(ctx, staging, p, region); err != nil {
			return err
		}
	}
	return nil
}

// stage takes one entry out of a stream that stands at its beginning, and leaves
// the stream at its end.
func stage(ctx context.Context, staging *engine.Staging, p part, region io.Reader) error {
	content, err := p.entry.Open(region)
	if err != nil {
		return err
	}
	return staging.Write(ctx, p.file, content)
}

// fetchLarge goes on where an earlier transfer of the same package stopped.
// Nothing that was kept is believed before the file's hash agrees: where it does
// not, the file comes once more from its beginning.
func (at *attempt) fetchLarge(ctx context.Context, staging *engine.Staging, n *news, p part, version string) error {
	kept, err := at.session.dir.Part(version, p.file.Name, p.length())
	if err != nil {
		return err
	}
	defer kept.Close()
	resumed := kept.Size() > 0
	if resumed {
		at.tally.Resumed.Store(true)
	}
	err = at.goOn(ctx, staging, n, p, kept)
	var refused *verifier.Refusal
	if resumed && errors.As(err, &refused) {
		if err := kept.Reset(); err != nil {
			return err
		}
		err = at.goOn(ctx, staging, n, p, kept)
	}
	if err == nil || errors.As(err, &refused) {
		kept.Done() // of no use any more
	}
	return err
}

// goOn stages an entry out of what was kept and what the source has of the rest.
func (at *attempt) goOn(ctx context.Context, staging *engine.Staging, n *news, p part, kept *engine.Part) error {
	have := kept.Size()
	stream := kept.Reader()
	if rest := p.length() - have; rest > 0 {
		at.expectRange(rest)
		more, err := n.pkg.Range(ctx, p.entry.Offset+have, rest)
		if err != nil {
			return err
		}
		defer more.Close()
		stream = io.MultiReader(stream, io.TeeReader(more, kept))
	}
	return stage(ctx, staging, p, stream)
}

// expectRange says that a range is about to come, unless all came before.
func (at *attempt) expectRange(bytes int64) {
	if !at.spooled {
		at.expect(bytes)
	}
}
