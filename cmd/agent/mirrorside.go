package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/trustdir"
)

// passphraseEnv is the environment variable with the key's passphrase, for runs
// without a terminal.
const passphraseEnv = "AGENT_KEY_PASSPHRASE"

func (p *program) mirrorCommand() *cli.Command {
	return command(cli.Command{Name: "mirror", Usage: "the mirror's side: fill, check and serve a tree of packages, and promote them", Subcommands: []*cli.Command{
		p.syncCommand(),
		p.mirrorCheckCommand(),
		p.approveCommand(),
		p.serveCommand(),
		p.promoteCommand(),
		p.promotionsCommand(),
	}})
}

func (p *program) packageCommand() *cli.Command {
	key := &cli.StringFlag{Name: "key", Usage: "private key `FILE` of the signer, PEM; a passphrase is asked for, or taken from " + passphraseEnv}
	cert := &cli.StringSliceFlag{Name: "cert", Usage: "certificate `FILE` of the signer or of its issuers, PEM; repeat it for each"}
	product := &cli.StringFlag{Name: "product", Value: "mdatp", Usage: "`NAME` of the product"}
	platform := &cli.StringFlag{Name: "platform", Value: verifier.Linux, Usage: "`NAME` of the platform"}
	arch := &cli.StringFlag{Name: "arch", Value: verifier.HostArch(), Usage: "`NAME` of the architecture, x86_64 or arm64"}
	ring := &cli.StringSliceFlag{Name: "ring", Value: cli.NewStringSlice("production"), Usage: "`NAME` of a ring; repeat it for each"}
	return command(cli.Command{Name: "package", Usage: "build, sign and check packages", Subcommands: []*cli.Command{
		command(cli.Command{Name: "keys", Usage: "make a throw-away CA and signer, for labs only", Action: p.keys, Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "`DIR` to write to"},
			boolFlag("rsa", "RSA of 3072 bits instead of ECDSA on P-256"),
		}}),
		command(cli.Command{Name: "build", Usage: "build a package of the files in a directory", ArgsUsage: "DIR", Action: p.build, Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "`FILE` to write, such as .../arch_x86_64/updates.zip"},
			&cli.StringFlag{Name: "engine-version", Usage: "`VERSION` of the engine"},
			&cli.StringFlag{Name: "definition-version", Usage: "`VERSION` of the definitions"},
			&cli.StringFlag{Name: "released", Usage: "`TIME` at which the content was made; else that of issue"},
			&cli.StringFlag{Name: "issued", Usage: "`TIME` of signing, such as 2026-11-23T08:00:00Z; else SOURCE_DATE_EPOCH, else now"},
			&cli.StringFlag{Name: "expires", Usage: "`TIME`, or a number of days such as 14d, from which on the content is too old", Value: "14d"},
			&cli.StringFlag{Name: "previous", Usage: "package or signed list `FILE` that endpoints have now; else what is replaced"},
			boolFlag("force", "allow a version that leaps or goes back"),
			boolFlag("unsigned", "leave the list out, and write it beside the package for openssl cms and package sign --attach"),
			&cli.IntFlag{Name: "level", Usage: "`LEVEL` of deflate, 1 to 9", Value: 6},
			key, cert, product, platform, arch, ring,
		}}),
		command(cli.Command{Name: "sign", Usage: "put a signed list into an unsigned package", ArgsUsage: "ZIP", Action: p.sign, Flags: []cli.Flag{
			&cli.StringFlag{Name: "attach", Usage: "signed list `FILE` that openssl cms made from package.json"},
			&cli.StringFlag{Name: "trust", Usage: "trust `DIR` of the endpoints, to be sure that they accept it"},
			key, cert,
		}}),
		command(cli.Command{Name: "inspect", Usage: "show what a package or signed list claims, and what its vendor signed", ArgsUsage: "FILE", Action: p.inspect, Flags: vendorFlags()}),
		command(cli.Command{Name: "verify", Usage: "check a package as an endpoint would, or a file that its vendor signed", ArgsUsage: "FILE", Action: p.verifyPackage, Flags: append([]cli.Flag{
			boolFlag("require-vendor", "the vendor's signature of each file must be good, too"),
			boolFlag("vendor-only", "judge by the vendor's signatures alone, as endpoints with the profile vendor do"),
			&cli.StringFlag{Name: "trust", Usage: "trust `DIR`; else that of this machine"},
			product, platform, arch, &cli.StringFlag{Name: "ring", Value: "production", Usage: "`NAME` of the ring"},
		}, vendorFlags()...)}),
	}})
}

func (p *program) keys(c *cli.Context) error {
	if err := arguments(c, 0, "no arguments"); err != nil {
		return err
	}
	if err := needed(c, "out"); err != nil {
		return err
	}
	made, err := mirror.MakeKeys(c.String("out"), mirror.KeyOptions{RSA: c.Bool("rsa")})
	if err != nil {
		return err
	}
	return p.show(c, struct {
		Type string `json:"$type"`
		mirror.Keys
	}{"packageKeysResult", made}, func(w io.Writer) {
		fmt.Fprintf(w, "Keys for a lab, not for production, are in %s\n", c.String("out"))
		fmt.Fprintf(w, "root for the endpoints' trust directory: %s\n", made.Root)
		fmt.Fprintf(w, "to sign with: --key %s --cert %s --cert %s\n", made.LeafKey, made.Leaf, made.Intermediate)
	})
}

func (p *program) build(c *cli.Context) error {
	if err := errors.Join(arguments(c, 1, "one directory"), needed(c, "out", "engine-version", "definition-version")); err != nil {
		return err
	}
	if err := checkPlace(c.String("out"), c.String("arch"), c.StringSlice("ring")); err != nil {
		return err
	}
	o, err := buildOptions(c)
	if err != nil {
		return err
	}
	var signer *mirror.Signer
	if unsigned := c.Bool("unsigned"); unsigned != (c.String("key") == "") {
		return &usageError{"a package is either signed, with --key and --cert, or built with --unsigned", "see agent package build --help"}
	} else if !unsigned {
		loaded, err := p.signer(c)
		if err != nil {
			return err
		}
		signer = &loaded
	}
	made, err := mirror.Build(c.Context, c.String("out"), o, signer)
	if err != nil {
		return err
	}
	return p.show(c, struct {
		Type string `json:"$type"`
		mirror.Result
	}{"packageBuildResult", made}, func(w io.Writer) { showBuilt(w, made) })
}

func showBuilt(w io.Writer, made mirror.Result) {
	l := made.List
	fmt.Fprintf(w, "%s: definitions %s, engine %s, %d files, %d bytes\n", made.Zip, l.Definition, l.Engine, len(l.Files), made.Size)
	if made.Signed {
		return
	}
	fmt.Fprintf(w, "not signed yet: sign %s, for example with\n", made.PackageJSON)
	fmt.Fprintf(w, "  openssl cms -sign -nodetach -binary -nosmimecap -outform DER -md sha256 -in %s -signer leaf.pem -inkey leaf.key -certfile intermediate.pem -out package.p7m\n", made.PackageJSON)
	fmt.Fprintf(w, "  agent package sign --attach package.p7m %s\n", made.Zip)
}

// checkPlace refuses a package that no endpoint would look for or accept where it
// is written to.
func checkPlace(out, arch string, rings []string) error {
	if right, ok := map[string]string{"amd64": "x86_64", "aarch64": "arm64"}[arch]; ok {
		return &usageError{"mirrors call the architecture " + arch + " by another name", "give --arch " + right}
	}
	archDir := filepath.Dir(out)
	if dir := filepath.Base(archDir); strings.HasPrefix(dir, "arch_") && dir != "arch_"+arch {
		return &usageError{"--out lies below another architecture's directory than that of --arch", "write to arch_" + typed(arch) + ", or give another --arch"}
	}
	ring := strings.TrimSuffix(filepath.Base(filepath.Dir(archDir)), "_back")
	if (ring == "production" || ring == "preview") && !slices.Contains(rings, ring) {
		return &usageError{"--out lies in the ring " + ring + ", which is not among those of the package", "give --ring " + ring}
	}
	return nil
}

func buildOptions(c *cli.Context) (o mirror.BuildOptions, err error) {
	o = mirror.BuildOptions{Dir: c.Args().First(), Product: c.String("product"), Platform: c.String("platform"), Arch: c.String("arch"),
		Rings: c.StringSlice("ring"), Force: c.Bool("force"), Level: c.Int("level")}
	if o.Engine, err = versionFlag(c, "engine-version", "1.1.24080.9"); err != nil {
		return o, err
	}
	if o.Definition, err = versionFlag(c, "definition-version", "1.407.417.0"); err != nil {
		return o, err
	}
	if o.Issued, err = issued(c.String("issued")); err != nil {
		return o, err
	}
	if o.Released, err = timeFlag("released", c.String("released")); err != nil {
		return o, err
	}
	if o.Expires, err = expires(c.String("expires"), o.Issued); err != nil {
		return o, err
	}
	if previous := c.String("previous"); previous != "" {
		o.Previous, err = mirror.ReadList(previous)
	}
	return o, err
}

func versionFlag(c *cli.Context, name, example string) (verifier.Version, error) {
	v, err := verifier.ParseVersion(c.String(name))
	if err != nil {
		return v, &usageError{"--" + name + " takes a version of four numbers", "for example --" + name + " " + example}
	}
	return v, nil
}

func timeFlag(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, &usageError{"--" + name + " takes a time", "for example --" + name + " 2026-11-23T08:00:00Z"}
	}
	return t, nil
}

// issued is the flag, else SOURCE_DATE_EPOCH (seconds since 1970, as builds that
// can be repeated have it), else now.
func issued(flag string) (time.Time, error) {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if flag != "" || epoch == "" {
		t, err := timeFlag("issued", flag)
		if t.IsZero() {
			t = time.Now()
		}
		return t, err
	}
	n, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, &usageError{"SOURCE_DATE_EPOCH is not a number of seconds", "unset it, or give --issued"}
	}
	return time.Unix(n, 0).UTC(), nil
}

// expires is a time, or a number of days after the issue.
func expires(text string, issued time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > 3650 {
			return time.Time{}, &usageError{"--expires takes a time or a number of days", "for example --expires 14d"}
		}
		return issued.AddDate(0, 0, n), nil
	}
	return timeFlag("expires", text)
}

// signer is the one that the flags name.
func (p *program) signer(c *cli.Context) (mirror.Signer, error) {
	signer, err := mirror.LoadSigner(c.String("key"), c.StringSlice("cert"), p.passphrase)
	var own *usageError
	if errors.As(err, &own) {
		return signer, own // it knows better than the library how to give a passphrase here
	}
	return signer, err
}

// passphrase comes from the environment, else from the terminal.
func (p *program) passphrase() ([]byte, error) {
	if secret, ok := os.LookupEnv(passphraseEnv); ok {
		return []byte(secret), nil
	}
	if !term.IsTerminal(int(p.stdin.Fd())) {
		return nil, &usageError{"the key is encrypted and there is no terminal to ask for its passphrase", "set " + passphraseEnv}
	}
	fmt.Fprint(p.stderr, "Passphrase of the signer's key: ")
	defer fmt.Fprintln(p.stderr)
	secret, err := term.ReadPassword(int(p.stdin.Fd()))
	if err != nil {
		return nil, &usageError{"the passphrase could not be read from the terminal", "set " + passphraseEnv}
	}
	return secret, nil
}

func (p *program) sign(c *cli.Context) error {
	if err := arguments(c, 1, "one package"); err != nil {
		return err
	}
	zip := c.Args().First()
	object, err := p.signedList(c, zip)
	if err != nil {
		return err
	}
	o := mirror.AttachOptions{}
	if dir := c.String("trust"); dir != "" {
		trust, err := trustdir.Load(dir, dir, nil)
		if err != nil {
			return err
		}
		o.Trust = &trust
	}
	if err := mirror.Attach(c.Context, zip, object, o); err != nil {
		return err
	}
	return p.show(c, struct {
		Type string `json:"$type"`
		Zip  string `json:"zip"`
	}{"packageSignResult", zip}, func(w io.Writer) { fmt.Fprintf(w, "%s is signed\n", zip) })
}

// signedList is what somebody else signed, or what we sign now from the list
// that package build --unsigned left beside the package.
func (p *program) signedList(c *cli.Context, zip string) ([]byte, error) {
	attach, key := c.String("attach"), c.String("key")
	if (attach == "") == (key == "") {
		return nil, &usageError{"a package is signed either with --attach or with --key and --cert", "see agent package sign --help"}
	}
	if attach != "" {
		return mirror.ReadSignedList(attach)
	}
	signer, err := p.signer(c)
	if err != nil {
		return nil, err
	}
	return mirror.SignUnsigned(zip, signer)
}

func (p *program) inspect(c *cli.Context) error {
	if err := arguments(c, 1, "one file"); err != nil {
		return err
	}
	path := c.Args().First()
	if mirror.AloneFile(path) {
		return p.examineFile(c, path, false)
	}
	found, err := mirror.Inspect(path, time.Now())
	if err != nil {
		return err
	}
	files, err := p.inspectFiles(c, &found)
	if err != nil {
		return err
	}
	return p.show(c, struct {
		Type string `json:"$type"`
		mirror.Inspection
		Files []mirror.VendorFile `json:"files"`
	}{"packageInspectResult", found, files}, func(w io.Writer) {
		inspectText(w, found)
		if len(files) > 0 {
			vendorFiles(w, files, nil)
			mirror.SignersText(w, files)
		}
	})
}

// maxRow is how much one row shows, in bytes.
const maxRow = 4 << 10

func inspectText(w io.Writer, i mirror.Inspection) {
	row := func(name, value string) { fmt.Fprintf(w, "%-20s: %s\n", name, printable.Text(value, maxRow)) }
	row("file", i.Path)
	row("verified", "no, this is what the file says of itself")
	if i.Problem != nil {
		row("problem", i.Problem.Code+": "+i.Problem.Message)
		row("hint", i.Problem.Hint)
	}
	if l := i.List; l != nil {
		row("product", fmt.Sprintf("%s, %s, %s, rings %s", l.Product, l.Platform, l.Arch, strings.Join(l.Rings, " ")))
		row("definition_version", l.Definition.String())
		row("engine_version", l.Engine.String())
		row("released", l.Released.Format(time.RFC3339))
		row("issued", l.Issued.Format(time.RFC3339))
		expired := ""
		if i.Expired {
			expired = " (expired)"
		}
		row("expires", l.Expires.Format(time.RFC3339)+expired)
		row("list_sha256", i.ListDigest)
	}
	for _, who := range []struct {
		name string
		cert *mirror.Certificate
	}{{"signer", i.Signer}, {"issuer", i.Issuer}} {
		if c := who.cert; c != nil {
			row(who.name, fmt.Sprintf("%s, until %s, pin %s", c.Subject, c.NotAfter.Format(time.RFC3339), c.Pin))
		}
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range i.Entries {
		fmt.Fprintf(table, "  %s\t%d bytes\t%d packed\n", printable.Text(e.Name, maxTyped), e.Size, e.Compressed)
	}
	_ = table.Flush() // nobody reads a closed stdout
}

func (p *program) verifyPackage(c *cli.Context) error {
	if err := arguments(c, 1, "one file"); err != nil {
		return err
	}
	if mirror.AloneFile(c.Args().First()) {
		return p.examineFile(c, c.Args().First(), true)
	}
	if c.Bool("vendor-only") {
		return p.verifyVendor(c)
	}
	dir := c.String("trust")
	root := dir // of a directory that the command line names, the parents are the caller's business
	if dir == "" {
		dir, root = p.paths.Trust, p.paths.Root
	}
	if dir == "" { // where no endpoint runs
		return needed(c, "trust")
	}
	trust, err := trustdir.Load(root, dir, nil)
	if err != nil {
		return err
	}
	good, err := mirror.Verify(c.Context, c.Args().First(), trust, time.Now(), wanted(c))
	if err != nil {
		return err
	}
	list, err := verifier.MarshalList(good.Signed.List)
	if err != nil {
		return err
	}
	files, err := p.verifyFiles(c, good.Archive, good.Signed.List)
	if err != nil {
		return err
	}
	return p.show(c, struct {
		Type  string              `json:"$type"`
		Zip   string              `json:"zip"`
		List  any                 `json:"list"`
		Files []mirror.VendorFile `json:"files"`
	}{"packageVerifyResult", good.Archive, json.RawMessage(list), files}, func(w io.Writer) {
		l := good.Signed.List
		fmt.Fprintf(w, "%s: good, definitions %s, engine %s, expires %s\n", good.Archive, l.Definition, l.Engine, l.Expires.Format(time.RFC3339))
		if len(files) > 0 {
			vendorFiles(w, files, nil)
		}
	})
}

// wanted is the identity that the flags ask for; nothing where none was given.
func wanted(c *cli.Context) *verifier.Identity {
	for _, name := range []string{"product", "platform", "arch", "ring"} {
		if c.IsSet(name) {
			return &verifier.Identity{Product: c.String("product"), Platform: c.String("platform"), Arch: c.String("arch"), Ring: c.String("ring")}
		}
	}
	return nil
}
