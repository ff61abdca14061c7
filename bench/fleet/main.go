// Command fleet asks a mirror for news as many endpoints do, each once in a
// period and at a moment of its own, and says what that took of the mirror.
//
//	fleet -url URL -endpoints N -period D [-etag TAG] [-range R]...
//
// Each endpoint opens a connection, sends the agent's conditional request for
// the tail, and, where that says that something is new, one request for each
// further range. It is no agent: it reads bodies and throws them away. What
// ranges to ask for is taken from what the agent was seen to ask for.
//
// Endpoints, their moments and the time for all of it are bounded. It prints one
// line: requests, bytes of bodies, requests that failed, seconds, and the
// milliseconds of the slowest in a hundred endpoints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxEndpoints = 50_000
	maxPeriod    = 10 * time.Minute
	atOnce       = 256              // endpoints that wait for an answer at one time
	patience     = 30 * time.Second // for one endpoint, and for all after the period
	seed         = 20261123         // the same moments in every run
)

// fleet is what all endpoints have in common, and what they count.
type fleet struct {
	url, etag string
	ranges    []string

	requests, bytes, failed atomic.Int64
}

// values collects a flag that may come more than once.
type values []string

func (v *values) String() string     { return strings.Join(*v, " ") }
func (v *values) Set(s string) error { *v = append(*v, s); return nil }

func main() {
	var f fleet
	endpoints := flag.Int("endpoints", 1000, "how many endpoints")
	period := flag.Duration("period", 10*time.Second, "over what time their polls are spread")
	flag.StringVar(&f.url, "url", "", "URL of the package")
	flag.StringVar(&f.etag, "etag", "", "entity tag that the endpoints have, with its quotes")
	flag.Var((*values)(&f.ranges), "range", "a Range to ask for; the first is that of the poll")
	flag.Parse()
	if f.url == "" || *endpoints < 1 || *endpoints > maxEndpoints || *period > maxPeriod || *period < 0 {
		flag.Usage()
		os.Exit(2)
	}
	began := time.Now()
	took := f.poll(moments(*endpoints, *period), *period+patience)
	fmt.Println(f.requests.Load(), f.bytes.Load(), f.failed.Load(),
		time.Since(began).Seconds(), took[len(took)*99/100].Milliseconds())
}

// moments gives each endpoint its own, spread evenly by chance over the period,
// in order of time.
func moments(n int, period time.Duration) []time.Duration {
	chance := rand.New(rand.NewPCG(seed, uint64(n)))
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = time.Duration(chance.Float64() * float64(period))
	}
	slices.Sort(all)
	return all
}

// poll lets every endpoint poll at its moment, and gives how long each took, in
// order of duration.
func (f *fleet) poll(at []time.Duration, limit time.Duration) []time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	took := make([]time.Duration, len(at))
	slots := make(chan struct{}, atOnce)
	began := time.Now()
	var all sync.WaitGroup
	for i, moment := range at {
		time.Sleep(time.Until(began.Add(moment)))
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			start := time.Now()
			if err := f.endpoint(ctx); err != nil {
				f.failed.Add(1)
			}
			took[i] = time.Since(start)
		})
	}
	all.Wait()
	slices.Sort(took)
	return took
}

// endpoint is one poll, over a connection of its own, and the update that
// follows where there is news.
func (f *fleet) endpoint(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	ranges := f.ranges
	if len(ranges) == 0 {
		ranges = []string{""}
	}
	for i, r := range ranges {
		tag := ""
		if i == 0 {
			tag = f.etag
		}
		news, err := f.get(ctx, client, r, tag)
		if err != nil || !news {
			return err
		}
	}
	return nil
}

// get sends one request, reads its body to the end, and says whether there was
// anything new.
func (f *fleet) get(ctx context.Context, client *http.Client, span, tag string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("User-Agent", "mdatp-offline-agent bench")
	for name, value := range map[string]string{"Range": span, "If-None-Match": tag} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	f.requests.Add(1)
	res, err := client.Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	f.bytes.Add(n)
	switch {
	case err != nil:
		return false, err
	case res.StatusCode == http.StatusNotModified && tag != "":
		return false, nil
	case res.StatusCode == http.StatusOK || res.StatusCode == http.StatusPartialContent:
		return true, nil
	}
	return false, errors.New(res.Status)
}
