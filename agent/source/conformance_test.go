package source_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"mdatp-offline-agent/agent/source"
	"mdatp-offline-agent/agent/source/sourcetest"
	"mdatp-offline-agent/mirror"
)

func TestDirConforms(t *testing.T) {
	t.Parallel()
	sourcetest.Suite(t, func(_ *testing.T, dir string) source.Source { return source.NewDir(dir) })
}

// conforming is a server that a source of ours must read from as from any other.
type conforming struct {
	name  string
	serve func(t testing.TB, dir string) string
}

// serve runs a handler until the test ends.
func serve(t testing.TB, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestHTTPConforms(t *testing.T) {
	t.Parallel()
	servers := []conforming{
		{"httptest", func(t testing.TB, dir string) string {
			return serve(t, http.FileServer(http.Dir(dir)))
		}},
		{"nginx", sourcetest.Nginx},
		{"python", sourcetest.PythonHTTP},
		{"nginx's slice cache", func(t testing.TB, dir string) string {
			// What it keeps it would serve when it is replaced, which is its right
			// and not what the suite expects.
			return sourcetest.NginxCache(t, sourcetest.Nginx(t, dir), 64, "0")
		}},
		{"our mirror", func(t testing.TB, dir string) string {
			return serve(t, mirror.Handler(dir, nil))
		}},
	}
	for name, change := range odd {
		servers = append(servers, conforming{name, func(t testing.TB, dir string) string {
			return serve(t, change(http.FileServer(http.Dir(dir))))
		}})
	}
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			spools := &sourcetest.Spools{Dir: t.TempDir()}
			sourcetest.Suite(t, func(t *testing.T, dir string) source.Source {
				return source.NewHTTP(source.HTTPConfig{Base: parse(t, s.serve(t, dir)), Spool: spools.New})
			})
			if n := spools.Open(); n != 0 {
				t.Errorf("%d spools were left open", n)
			}
		})
	}
}

// TestNginxValidator makes sure that the suite's check of validators is a check
// at all with a real server.
func TestNginxValidator(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeOld(t, dir, "content")
	h := source.NewHTTP(source.HTTPConfig{Base: parse(t, sourcetest.Nginx(t, dir))})
	p, err := h.Open(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Validator().ETag == "" {
		t.Error("nginx gave no entity tag that is kept")
	}
}

func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
