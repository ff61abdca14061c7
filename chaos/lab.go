package chaos

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mdatp-offline-agent/agent"
	"mdatp-offline-agent/chaos/invariant"
	"mdatp-offline-agent/managedconfig"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
)

// lab is what all runs of a sweep share: a directory on the file system that is
// looked at, the program, a publisher and a mirror.
type lab struct {
	dir     string
	program string
	vendor  *Vendor // nil: nobody signs as one
	keys    mirror.Keys
	signer  mirror.Signer
	url     string // of the mirror
	close   func()
	limit   time.Duration // how long a run may take before it hangs
	openssl bool          // OpenSSL is there and agreed with every list that was published
}

// newLab prepares one in dir, an empty directory whose path has no symlinks.
func newLab(dir, program string, vendor *Vendor) (*lab, error) {
	l := &lab{dir: dir, program: program, vendor: vendor, limit: limit, openssl: true}
	var err error
	l.keys, err = mirror.MakeKeys(filepath.Join(dir, "keys"), mirror.KeyOptions{Now: time.Now().AddDate(0, 0, -2)})
	if err != nil {
		return nil, err
	}
	if l.signer, err = mirror.LoadSigner(l.keys.LeafKey, l.keys.Certificates(), nil); err != nil {
		return nil, err
	}
	served := filepath.Join(dir, "mirror")
	if err := os.Mkdir(served, 0o755); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: mirror.Handler(served, nil), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // until it is closed
	l.url, l.close = "http://"+listener.Addr().String(), func() { server.Close() }
	return l, nil
}

// machine is a machine that a scenario begins with, in the making.
type machine struct {
	*lab
	name      string
	root      string
	profile   string // of trust
	engine    int    // how large the engine is in each package for it, in bytes
	published []invariant.Publication
	accepted  *invariant.Publication  // what was installed last; nil: nothing
	damaged   []invariant.Publication // what damage has made of one
}

// engineSize is, in bytes, one that takes many reads and writes.
const engineSize = 700 << 10

// newMachine makes one that trusts the publisher and has its own ring on the
// mirror, and nothing installed.
func (l *lab) newMachine(name string) (*machine, error) {
	m := &machine{lab: l, name: name, root: filepath.Join(l.dir, "start", name), profile: managedconfig.ProfileList, engine: engineSize}
	root, err := os.ReadFile(l.keys.Root)
	if err != nil {
		return nil, err
	}
	if err := m.write(trustDir+"/root.pem", root); err != nil {
		return nil, err
	}
	return m, m.configure("")
}

// write puts a file in place, in directories that no other user can write to.
func (m *machine) write(name string, data []byte) error {
	path := filepath.Join(m.root, name)
	if err := makeDirs(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}

func makeDirs(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := makeDirs(filepath.Dir(path)); err != nil {
		return err
	}
	return makeDir(path, 0o755)
}

// configure writes the managed configuration, with more in the section agent. Its
// patience with the server is that of a machine on which many things run at once.
func (m *machine) configure(more string) error {
	return m.write(managed, fmt.Appendf(nil, `{"antivirusEngine":{"offlineDefinitionUpdate":"enabled","offlineDefinitionUpdateUrl":%q},`+
		`"agent":{"connectTimeout":60,"headerTimeout":60,"stallTimeout":60%s%s}}`, m.url+"/"+m.name+"/production", m.trustRules(), more))
}

// contents are the files of a package: a large one, and some small ones.
type contents map[string][]byte

// engineFile is the large one.
const engineFile = "libmpengine.so"

// fileSizes are those of the others, in bytes.
var fileSizes = map[string]int{
	"libmpengine.so.sig": 256, "mpasbase.vdm": 9000, "mpasdlta.vdm": 1500, "mpavbase.vdm": 12000, "mpavdlta.vdm": 2500,
}

// newContents makes files that no compression makes smaller, others for each
// version.
func (m *machine) newContents(version uint32) contents {
	files := contents{engineFile: noise(fmt.Sprint(version, engineFile), m.engine)}
	for name, size := range fileSizes {
		files[name] = noise(fmt.Sprint(version, name), size)
	}
	return files
}

// noise is the same for the same name.
func noise(name string, size int) []byte {
	var seed [32]byte
	copy(seed[:], name)
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(data) // it never fails
	return data
}

// lay puts the files of a package where one is built of them, and begins with what it
// must be.
func (m *machine) lay(n uint32, files contents) (src string, p invariant.Publication, err error) {
	src = filepath.Join(m.dir, "publish", m.name, fmt.Sprint(n))
	if err := os.MkdirAll(src, 0o755); err != nil {
		return "", p, err
	}
	p = invariant.Publication{Version: version(n), Issued: issued(n), Files: map[string]invariant.File{}}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(src, name), data, 0o644); err != nil {
			return "", p, err
		}
		p.Files[name] = invariant.FileOf(data)
	}
	return src, p, nil
}

// issued is when a version was, as packages have it. Each is older than the servers'
// seconds, and issued after the one before.
func issued(n uint32) time.Time {
	return time.Now().Add(-24*time.Hour + time.Duration(n)*time.Hour).Truncate(time.Second)
}

// archive is the package on the machine's ring.
func (m *machine) archive() string {
	return filepath.Join(m.dir, "mirror", m.name, "production", "arch_"+agent.HostArch(), "updates.zip")
}

// publish puts a package on the machine's ring, and keeps what it must be.
func (m *machine) publish(ctx context.Context, n uint32, files contents) error {
	src, p, err := m.lay(n, files)
	if err != nil {
		return err
	}
	out := m.archive()
	_, err = mirror.Build(ctx, out, mirror.BuildOptions{
		Dir: src, Product: "mdatp", Platform: agent.Platform, Arch: agent.HostArch(), Rings: []string{"production"},
		Engine: verifier.Version{1, 1, 24080, 9}, Definition: verifier.Version{1, 407, n, 0}, Issued: p.Issued,
	}, &m.signer)
	if err != nil {
		return err
	}
	if err := os.Chtimes(out, p.Issued, p.Issued); err != nil {
		return err
	}
	if p.List, err = listIn(out); err != nil {
		return err
	}
	err = invariant.CheckSignature(ctx, m.keys.Root, p)
	if errors.Is(err, exec.ErrNotFound) {
		m.openssl, err = false, nil
	}
	m.published = append(m.published, p)
	return err
}

// revoke puts a revocation list of the root into the trust directory. It names a
// certificate that nobody has.
func (m *machine) revoke() error {
	root, err := tls.LoadX509KeyPair(m.keys.Root, m.keys.RootKey)
	if err != nil {
		return err
	}
	now := time.Now()
	list, err := x509.CreateRevocationList(nil, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.AddDate(0, 0, 7),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(4711), RevocationTime: now.Add(-time.Hour)}},
	}, root.Leaf, root.PrivateKey.(crypto.Signer))
	if err != nil {
		return err
	}
	return m.write(trustDir+"/root.crl", list)
}

// ship makes a version that was published the set that was shipped with the program.
func (m *machine) ship(n uint32) error {
	i := slices.IndexFunc(m.published, func(p invariant.Publication) bool { return p.Version == version(n) })
	err := m.write(seedDir+"/META/package.p7m", m.published[i].List)
	for name := range m.published[i].Files {
		data, unread := os.ReadFile(filepath.Join(m.dir, "publish", m.name, fmt.Sprint(n), name))
		err = errors.Join(err, unread, m.write(seedDir+"/"+name, data))
	}
	return err
}

// damage changes one byte of a file of the active set, which was published last.
func (m *machine) damage(name string) error {
	path := filepath.Join(m.root, engineDir, "current", name)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[0] ^= 1
	if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, data, 0o644), os.Chmod(path, 0o444)); err != nil {
		return err
	}
	bad := m.published[len(m.published)-1]
	bad.Files = maps.Clone(bad.Files)
	bad.Files[name] = invariant.FileOf(data)
	m.damaged = append(m.damaged, bad)
	return nil
}

func version(n uint32) string { return fmt.Sprintf("1.407.%d.0", n) }

// listIn reads the signed list out of a package by the standard library.
func listIn(path string) ([]byte, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	f, err := z.Open("META/package.p7m")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// runPlain runs the program without anybody's help, and gives how it ended.
func (l *lab) runPlain(ctx context.Context, root string, command []string) (ending, error) {
	limited, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(limited, l.program)
	cmd.Args = arguments(root, command)
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(), &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		return ending{}, ctx.Err()
	}
	if limited.Err() != nil {
		return ending{}, fmt.Errorf("%q did not end", command)
	}
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return ending{}, err
	}
	return endingOf(cmd.ProcessState.ExitCode(), out.Bytes(), errs.Bytes())
}

// limit is how long a run may take at most. No wait of the agent's own comes near
// it.
const limit = 10 * time.Minute

// arguments are those of a run, the program's own name first.
func arguments(root string, command []string) []string {
	args := []string{"agent", "--root", root, "--output", "json"}
	for _, arg := range command {
		args = append(args, strings.Replace(arg, below, root, 1))
	}
	return args
}

// environment is the same for all runs. The number of processors keeps the
// runtime from reading the control group's limits every now and then.
func environment() []string { return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GOMAXPROCS=2"} }
