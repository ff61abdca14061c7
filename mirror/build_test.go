package mirror

import (
	"archive/zip"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"mdatp-offline-agent/verifier"
)

func TestBuildVerifies(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]KeyOptions{"P-256": {}, "RSA": {RSA: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, opts)
			r := build(t, l, l.options(t))
			want := verifier.Identity{Product: "mdatp", Platform: "linux", Arch: "x86_64", Ring: "production"}
			v, err := Verify(context.Background(), r.Zip, l.trust, time.Now(), &want)
			if err != nil {
				t.Fatal(err)
			}
			if v.Origin != Inside || v.Signed.List.Definition != version("1.407.417.0") || v.Size != r.Size || len(v.Signed.Chain) != 3 {
				t.Errorf("unexpected result: %+v", v)
			}
			const manifest = "{\n  \"EngineVersion\": \"1.1.24080.9\",\n  \"DefinitionVersion\": \"1.407.417.0\"\n}\n"
			if got := string(read(t, r.Manifest)); got != manifest {
				t.Errorf("manifest.json is %s", got)
			}
			onlyFiles(t, filepath.Dir(r.Zip), "manifest.json", "updates.zip")
		})
	}
}

// TestBuildForOtherTools has the programs read a package that people use.
func TestBuildForOtherTools(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	r := build(t, l, l.options(t))
	engine := read(t, filepath.Join(l.dir, "files", "libmpengine.so"))

	t.Run("unzip", func(t *testing.T) {
		run(t, l.dir, "unzip", "-t", r.Zip)
		if got := run(t, l.dir, "unzip", "-p", r.Zip, "libmpengine.so"); !bytes.Equal(got, engine) {
			t.Error("unzip reads another content")
		}
	})
	t.Run("python", func(t *testing.T) {
		const script = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\nprint(' '.join(z.namelist()))"
		const want = "empty.vdm libmpengine.so mpavbase.vdm META/package.p7m"
		if got := strings.TrimSpace(string(run(t, l.dir, "python3", "-c", script, r.Zip))); got != want {
			t.Errorf("Python sees %s", got)
		}
	})
	t.Run("openssl", func(t *testing.T) {
		p7m := filepath.Join(l.dir, "list.p7m")
		write(t, p7m, run(t, l.dir, "unzip", "-p", r.Zip, "META/package.p7m"))
		list := run(t, l.dir, "openssl", "cms", "-verify", "-inform", "DER", "-purpose", "any", "-CAfile", l.keys.Root, "-in", p7m)
		if parsed, err := verifier.ParseList(list); err != nil || len(parsed.Files) != 3 {
			t.Errorf("openssl prints %s (%v)", list, err)
		}
	})
	t.Run("go", func(t *testing.T) {
		z, err := zip.OpenReader(r.Zip)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		for _, f := range z.File {
			if len(f.Extra) > 0 || f.Flags != 0 || f.Mode() != 0o644 || f.CompressedSize64 > f.UncompressedSize64 {
				t.Errorf("entry %s is %+v", f.Name, f.FileHeader)
			}
		}
		if z.File[1].Method != zip.Deflate || z.File[2].Method != zip.Store {
			t.Error("not every file has the method that is best for it")
		}
	})
}

func TestBuildIsReproducible(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	o := l.options(t)
	o.Issued = time.Now().Add(-time.Hour)
	var zips, lists [2][]byte
	for i := range zips {
		out := filepath.Join(t.TempDir(), "updates.zip")
		r, err := Build(context.Background(), out, o, nil)
		if err != nil {
			t.Fatal(err)
		}
		zips[i], lists[i] = read(t, out), read(t, r.PackageJSON)
		old := time.Unix(1e9, 0) // dates and modes of the files must not matter
		if err := os.Chtimes(filepath.Join(o.Dir, "mpavbase.vdm"), old, old); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(o.Dir, "mpavbase.vdm"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(zips[0], zips[1]) || !bytes.Equal(lists[0], lists[1]) {
		t.Error("two builds of the same files differ")
	}
}

func TestBuildRefusesDirectories(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"hidden file": func(t *testing.T, dir string) { write(t, filepath.Join(dir, ".DS_Store"), nil) },
		"directory":   func(t *testing.T, dir string) { write(t, filepath.Join(dir, "META", "x"), nil) },
		"space":       func(t *testing.T, dir string) { write(t, filepath.Join(dir, "a b"), nil) },
		"two cases":   func(t *testing.T, dir string) { write(t, filepath.Join(dir, "EMPTY.vdm"), nil) },
		"symlink": func(t *testing.T, dir string) {
			if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
		},
		"named pipe": func(t *testing.T, dir string) {
			if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"too many": func(t *testing.T, dir string) {
			for i := range verifier.MaxFiles {
				write(t, filepath.Join(dir, "f"+string(rune('A'+i/26))+string(rune('a'+i%26))), nil)
			}
		},
		"none": func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		},
		"no such": func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		},
		"huge": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "huge")
			write(t, path, nil)
			if err := os.Truncate(path, verifier.MaxContentSize+1); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, KeyOptions{})
			o := l.options(t)
			spoil(t, o.Dir)
			code := codeUsage
			if name == "huge" {
				code = string(verifier.PackageTooLarge)
			}
			_, err := Build(context.Background(), l.out(), o, &l.signer)
			wantCode(t, err, code)
			onlyFiles(t, filepath.Dir(l.out()))
		})
	}
}

// TestBuildRefusesOptions has what would strand endpoints, and what makes no
// list. Each row changes a package that is good and follows another.
func TestBuildRefusesOptions(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{LeafValidity: 30 * 24 * time.Hour})
	first := l.options(t)
	now := time.Now()
	first.Issued = now.Add(-time.Hour)
	build(t, l, first)
	before := read(t, l.out())

	for name, change := range map[string]func(o *BuildOptions){
		"outlives the leaf":  func(o *BuildOptions) { o.Expires = now.Add(31 * 24 * time.Hour) },
		"not issued after":   func(o *BuildOptions) { o.Issued = first.Issued },
		"issued in future":   func(o *BuildOptions) { o.Issued = now.Add(25 * time.Hour) },
		"expired":            func(o *BuildOptions) { o.Expires = now.Add(-time.Minute) },
		"expires first":      func(o *BuildOptions) { o.Expires = o.Issued.Add(-2 * time.Hour) },
		"released after":     func(o *BuildOptions) { o.Released = now.Add(time.Hour) },
		"definition lower":   func(o *BuildOptions) { o.Definition = version("1.407.416.0") },
		"engine lower":       func(o *BuildOptions) { o.Engine = version("1.1.24080.8") },
		"first number leaps": func(o *BuildOptions) { o.Definition = version("2.407.417.0") },
		"second leaps":       func(o *BuildOptions) { o.Definition = version("1.508.0.0") },
		"other architecture": func(o *BuildOptions) { o.Arch = "arm64" },
		"no ring":            func(o *BuildOptions) { o.Rings = nil },
		"bad product":        func(o *BuildOptions) { o.Product = "a b" },
		"level":              func(o *BuildOptions) { o.Level = 10 },
		"output in input":    func(o *BuildOptions) { o.Dir = filepath.Dir(l.out()) },
	} {
		o := l.options(t)
		o.Now = now
		change(&o)
		_, err := Build(context.Background(), l.out(), o, &l.signer)
		t.Run(name, func(t *testing.T) { wantCode(t, err, codeUsage) })
	}
	if !bytes.Equal(read(t, l.out()), before) {
		t.Error("a refused build changed the package")
	}
	onlyFiles(t, filepath.Dir(l.out()), "manifest.json", "updates.zip")
}

func TestBuildForce(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	o := l.options(t)
	write(t, l.out(), []byte("no zip"))
	_, err := Build(context.Background(), l.out(), o, &l.signer)
	wantCode(t, err, codeUsage)
	o.Force, o.Issued = true, time.Now().Add(-time.Hour)
	build(t, l, o)
	o.Definition, o.Issued = version("7.0.0.0"), time.Time{}
	build(t, l, o)
	o.Issued = time.Now().Add(-2 * time.Hour) // not even force helps here
	_, err = Build(context.Background(), l.out(), o, &l.signer)
	wantCode(t, err, codeUsage)
}

func TestBuildGivenPrevious(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	o := l.options(t)
	r := build(t, l, o)
	list, err := ReadList(r.Zip)
	if err != nil {
		t.Fatal(err)
	}
	o.Previous, o.Issued = list, list.Issued
	_, err = Build(context.Background(), filepath.Join(l.dir, "elsewhere", "updates.zip"), o, &l.signer)
	wantCode(t, err, codeUsage)
}

func TestBuildInterrupted(t *testing.T) {
	t.Parallel()
	l := newLab(t, KeyOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Build(ctx, l.out(), l.options(t), &l.signer)
	wantCode(t, err, codeInterrupt)
	onlyFiles(t, filepath.Dir(l.out()))
}

func TestBuildWithoutPermission(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("MISSING: an unprivileged user; root may write everywhere")
	}
	l := newLab(t, KeyOptions{})
	o := l.options(t)
	dir := filepath.Join(l.dir, "closed")
	if err := os.Mkdir(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	_, err := Build(context.Background(), filepath.Join(dir, "updates.zip"), o, &l.signer)
	wantCode(t, err, codePermission)
}

// TestBuildMemory builds from a file that is far larger than what may be
// allocated on the way.
func TestBuildMemory(t *testing.T) {
	l := newLab(t, KeyOptions{})
	o := l.options(t)
	big := filepath.Join(o.Dir, "big.vdm")
	write(t, big, nil)
	if err := os.Truncate(big, 64<<20); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	build(t, l, o)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
		t.Errorf("a build from 64 MiB allocates %d bytes", got)
	}
}
