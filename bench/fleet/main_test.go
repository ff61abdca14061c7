package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMoments(t *testing.T) {
	t.Parallel()
	const n, period = 1000, time.Hour
	at := moments(n, period)
	if len(at) != n || !slices.IsSorted(at) || at[0] < 0 || at[n-1] >= period {
		t.Fatalf("%d moments from %s to %s", len(at), at[0], at[n-1])
	}
	if early := slices.IndexFunc(at, func(d time.Duration) bool { return d > period/2 }); early < n/3 || early > n*2/3 {
		t.Errorf("%d of %d are in the first half", early, n)
	}
	if !slices.Equal(at, moments(n, period)) {
		t.Error("the moments are not the same in every run")
	}
}

// TestPoll has what endpoints ask for, with and without news, and what is counted.
func TestPoll(t *testing.T) {
	t.Parallel()
	const content, tag = "0123456789", `"v2"`
	tests := []struct {
		etag            string
		requests, bytes int64
	}{
		{etag: tag, requests: 3, bytes: 0},
		{etag: `"v1"`, requests: 6, bytes: 3 * (4 + 3)},
	}
	for _, tt := range tests {
		t.Run(tt.etag, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			clients := map[string]bool{}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				clients[r.RemoteAddr] = true
				mu.Unlock()
				w.Header().Set("ETag", tag)
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
			}))
			t.Cleanup(s.Close)
			f := fleet{url: s.URL, etag: tt.etag, ranges: []string{"bytes=-4", "bytes=1-3"}}
			f.poll(moments(3, 0), time.Minute)
			got := fmt.Sprint(f.requests.Load(), f.bytes.Load(), f.failed.Load(), len(clients))
			if want := fmt.Sprint(tt.requests, tt.bytes, 0, 3); got != want {
				t.Errorf("requests, bytes, failures, connections: %s, want %s", got, want)
			}
		})
	}
}

func TestPollCountsFailures(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	f := fleet{url: s.URL}
	if f.poll(moments(2, 0), time.Minute); f.failed.Load() != 2 {
		t.Errorf("%d failed, want 2", f.failed.Load())
	}
}
