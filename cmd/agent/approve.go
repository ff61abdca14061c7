package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/agent/reason"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/trustdir"
)

func (p *program) approveCommand() *cli.Command {
	return command(cli.Command{Name: "approve", Usage: "let the package that came last out to endpoints, by a signed list beside it", ArgsUsage: "RING-DIR", Action: p.approve, Flags: append([]cli.Flag{
		&cli.StringFlag{Name: "arch", DefaultText: "those with a package", Usage: "`NAME` of the one architecture, x86_64 or arm64"},
		&cli.StringFlag{Name: "key", Usage: "private key `FILE` of the signer, PEM; a passphrase is asked for, or taken from " + passphraseEnv},
		&cli.StringSliceFlag{Name: "cert", Usage: "certificate `FILE` of the signer or of its issuers, PEM; repeat it for each"},
		&cli.StringFlag{Name: "trust", Usage: "trust `DIR` of the endpoints, to be sure that they accept it, and of who approved before"},
		boolFlag("require-vendor", "refuse a package unless the vendor's signature of each file is good"),
		&cli.StringFlag{Name: "engine-version", Usage: "`VERSION` of the engine, in place of that of manifest.json"},
		&cli.StringFlag{Name: "definition-version", Usage: "`VERSION` of the definitions, in place of what the files and manifest.json say"},
		&cli.StringFlag{Name: "expires", Usage: "`TIME`, or a number of days such as 14d, from which on the content is too old", Value: "14d"},
		boolFlag("renew", "sign again what is approved, and not what came since"),
		&cli.StringFlag{Name: "zip", Usage: "`NAME` of the package, as --dry-run showed it; nothing else is signed"},
		boolFlag("dry-run", "show what would be signed, and sign and publish nothing"),
		&cli.StringFlag{Name: "external", Usage: "write the list to `FILE` for openssl cms or a hardware module, and sign nothing"},
		&cli.StringFlag{Name: "attach", Usage: "signed list `FILE` that openssl cms made of what --external wrote"},
		boolFlag("force", "allow a version that leaps or goes back, an engine for another architecture unless the vendor's signatures are required, and an approval before that can't be read, is another's or is dated ahead"),
		&cli.StringFlag{Name: "product", Value: "mdatp", Usage: "`NAME` of the product"},
		&cli.StringFlag{Name: "platform", DefaultText: "by the path", Usage: "`NAME` of the platform, linux or mac"},
		&cli.StringFlag{Name: "ring", DefaultText: "by the path", Usage: "`NAME` of the ring"},
	}, vendorFlags()...)})
}

func (p *program) approve(c *cli.Context) error {
	if err := arguments(c, 1, "one directory of a ring"); err != nil {
		return err
	}
	ways, dry := 0, c.Bool("dry-run")
	for _, name := range []string{"key", "external", "attach"} {
		if c.IsSet(name) {
			ways++
		}
	}
	if ways > 1 || ways == 0 && !dry || dry && c.IsSet("attach") {
		return &usageError{"a package is approved with --key and --cert, or in two steps with --external and --attach; --dry-run goes with any but --attach", "see agent mirror approve --help"}
	}
	o, err := p.approveOptions(c)
	if err != nil {
		return err
	}
	if c.IsSet("attach") {
		// What is signed already can't be made stricter, and must not look as if it were.
		for _, name := range []string{"cert", "require-vendor", "vendor-trust", "vendor-pin", "engine-version", "definition-version", "expires", "renew", "zip"} {
			if c.IsSet(name) {
				return &usageError{"--" + name + " is for the list that --external writes, and --attach takes that as it was signed", "leave --" + name + " out, or give it with --external and sign that list"}
			}
		}
		return p.attachApproval(c, o)
	}
	archs := []string{o.Arch}
	if o.Arch == "" {
		archs = mirror.RingArchs(c.Args().First())
	}
	switch {
	case len(archs) == 0:
		return &usageError{"no architecture of the ring has a package", "name the directory that holds arch_x86_64 or arch_arm64, and check --arch"}
	case len(archs) > 1 && c.IsSet("zip"):
		return &usageError{"the ring has packages for more than one architecture, and --zip names one package", "give --arch x86_64 or --arch arm64"}
	case len(archs) > 1 && c.IsSet("external"):
		return &usageError{"the ring has packages for more than one architecture, and a list is about one", "give --arch x86_64 or --arch arm64"}
	}
	var signer mirror.Signer
	if c.IsSet("key") {
		if signer, err = p.signer(c); err != nil {
			return err
		}
		o.Signer = &signer
	}
	result := approveResult{Type: "mirrorApproveResult", Packages: []approvedPackage{}}
	for _, arch := range archs {
		o.Arch = arch
		one := p.approveOne(c, o, signer)
		one.FailReason = reason.Explain(one.err)
		if one.err != nil {
			p.log.WithError(one.err).WithField("arch", arch).Debug("the package is not approved")
		}
		result.Packages = append(result.Packages, one)
	}
	return p.showApproved(c, result)
}

func (p *program) approveOptions(c *cli.Context) (o mirror.ApproveOptions, err error) {
	o = mirror.ApproveOptions{Arch: c.String("arch"), Product: c.String("product"), Platform: c.String("platform"), Ring: c.String("ring"),
		Zip: c.String("zip"), RequireVendor: c.Bool("require-vendor"), Renew: c.Bool("renew"), Force: c.Bool("force"), Now: time.Now()}
	if c.IsSet("arch") && !slices.Contains(fewValues()["arch"], o.Arch) {
		return o, &usageError{"there is no architecture " + typed(o.Arch) + " on mirrors", "give --arch x86_64 or --arch arm64"}
	}
	for name, to := range map[string]*verifier.Version{"engine-version": &o.Engine, "definition-version": &o.Definition} {
		if c.IsSet(name) {
			if *to, err = versionFlag(c, name, "1.1.24080.9"); err != nil {
				return o, err
			}
		}
	}
	if o.Expires, err = expires(c.String("expires"), o.Now); err != nil {
		return o, err
	}
	if dir := c.String("trust"); dir != "" {
		trust, err := trustdir.Load(dir, dir, nil)
		if err != nil {
			return o, err
		}
		o.Trust = &trust
	}
	o.Vendor, err = p.vendorTrust(c, o.RequireVendor)
	return o, err
}

// approveResult is the JSON of mirror approve.
type approveResult struct {
	Type     string            `json:"$type"`
	Packages []approvedPackage `json:"packages"`
}

type approvedPackage struct {
	Arch       string                       `json:"arch"`
	Outcome    string                       `json:"outcome"` // approved, renewed, proposed, failed
	List       json.RawMessage              `json:"list"`    // null where it did not come that far
	Exact      string                       `json:"exactZip,omitempty"`
	Previous   *verifier.Version            `json:"previousDefinitionsVersion"`
	Files      []mirror.VendorFile          `json:"files"`
	Changes    map[string]mirror.FileChange `json:"changes"`
	Zip        string                       `json:"zip,omitempty"`
	Sidecar    string                       `json:"sidecar,omitempty"`
	Note       *mirror.Problem              `json:"note,omitempty"`  // what went wrong once it was in force
	Notes      []string                     `json:"notes,omitempty"` // what endpoints will need
	FailReason *reason.Failure              `json:"failReason"`

	err error
}

// approveOne approves the package of one architecture. In text, what is about to be
// signed is shown before it is.
func (p *program) approveOne(c *cli.Context, o mirror.ApproveOptions, signer mirror.Signer) (r approvedPackage) {
	r = approvedPackage{Arch: o.Arch, Outcome: "failed", Files: []mirror.VendorFile{}}
	proposal, err := mirror.Propose(c.Context, c.Args().First(), o)
	if err != nil {
		r.err = err
		if refused := (*mirror.NotProposed)(nil); errors.As(err, &refused) {
			r.Files = refused.Files
		}
		if c.String("output") != "json" && len(r.Files) > 0 {
			fmt.Fprintf(p.stdout, "arch_%s: not approved\n", o.Arch)
			vendorFiles(p.stdout, r.Files, nil)
		}
		return r
	}
	defer proposal.Close()
	r.Files, r.Changes, r.Exact, r.Notes = proposal.Files, proposal.Changes(), proposal.Exact(), proposal.Notes()
	if r.List, r.err = verifier.MarshalList(proposal.List); r.err != nil {
		return r
	}
	if proposal.Previous != nil {
		r.Previous = &proposal.Previous.Definition
	}
	if c.String("output") != "json" {
		proposalText(p.stdout, proposal)
	}
	switch {
	case c.Bool("dry-run"):
		r.Outcome = "proposed"
	case c.IsSet("key"):
		var approved mirror.Approved
		if approved, r.err = proposal.Sign(signer); r.err == nil {
			r.Zip, r.Sidecar, r.Note, r.Outcome = approved.Zip, approved.Sidecar, approved.Note, "approved"
			if proposal.Renewal {
				r.Outcome = "renewed"
			}
		}
	case c.IsSet("external"):
		if r.err = proposal.External(c.String("external")); r.err == nil {
			r.Outcome = "proposed"
		}
	}
	return r
}

func proposalText(w io.Writer, proposal *mirror.Proposal) {
	l := proposal.List
	fmt.Fprintf(w, "arch_%s: definitions %s, engine %s, for ring %s\n", l.Arch, l.Definition, l.Engine, l.Rings[0])
	fmt.Fprintf(w, "  product %s, platform %s, in %s\n", l.Product, l.Platform, l.Zip)
	fmt.Fprintf(w, "  released %s, expires %s\n", l.Released.Format(time.RFC3339), l.Expires.Format(time.RFC3339))
	switch {
	case proposal.Previous == nil:
		fmt.Fprintln(w, "  nothing was approved before")
	case proposal.Renewal:
		fmt.Fprintf(w, "  a renewal of what was approved at %s\n", proposal.Previous.Issued.Format(time.RFC3339))
	default:
		fmt.Fprintf(w, "  in place of definitions %s, engine %s\n", proposal.Previous.Definition, proposal.Previous.Engine)
	}
	if proposal.LogLine > 0 {
		fmt.Fprintf(w, "  names line %d of the log of promotions\n", proposal.LogLine)
	}
	if proposal.Previous != nil && !proposal.PreviousJudged() {
		fmt.Fprintln(w, "  who signed the approval before was not verified, so give --trust if what is the same matters")
	}
	changes := proposal.Changes()
	vendorFiles(w, proposal.Files, changes)
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		if changes[name] == mirror.FileGone {
			fmt.Fprintf(w, "  %s is no longer there\n", name)
		}
	}
	for _, note := range proposal.Notes() {
		fmt.Fprintf(w, "  %s\n", note)
	}
}

// showApproved ends the command: the exit code is that of the first failure.
func (p *program) showApproved(c *cli.Context, result approveResult) error {
	var first *reason.Failure
	for _, one := range result.Packages {
		first = cmp.Or(first, one.FailReason)
	}
	_ = p.show(c, result, func(w io.Writer) {
		for _, one := range result.Packages {
			p.approvedText(c, w, one)
		}
	})
	if first == nil {
		return nil
	}
	p.exit = reason.ExitCode(first.Code)
	return errShown
}

func (p *program) approvedText(c *cli.Context, w io.Writer, one approvedPackage) {
	f := one.FailReason
	switch {
	case f != nil:
		p.showFailure(false, &reason.Failure{Code: f.Code, Message: "arch_" + one.Arch + ": " + f.Message, Hint: f.Hint})
	case one.Sidecar != "":
		fmt.Fprintf(w, "arch_%s: %s, %s\n", one.Arch, one.Outcome, one.Zip)
		if one.Note != nil {
			fmt.Fprintf(w, "  it is in force, but %s, so %s\n", one.Note.Message, one.Note.Hint)
		}
	case c.Bool("dry-run"):
		renew := ""
		if c.Bool("renew") {
			renew = " --renew"
		}
		fmt.Fprintf(w, "arch_%s: nothing was signed\n", one.Arch)
		fmt.Fprintf(w, "  to sign this and nothing else, give --arch %s%s --zip %s\n", one.Arch, renew, one.Exact)
	default:
		file := c.String("external")
		fmt.Fprintf(w, "arch_%s: not approved yet; sign the list, for example with\n", one.Arch)
		fmt.Fprintf(w, "  openssl cms -sign -nodetach -binary -nosmimecap -outform DER -md sha256 -in %s -signer leaf.pem -inkey leaf.key -certfile intermediate.pem -out approval.p7m\n", file)
		fmt.Fprintf(w, "  agent mirror approve %s --attach approval.p7m --trust %s\n", c.Args().First(), cmp.Or(c.String("trust"), "DIR"))
		if !c.IsSet("trust") {
			fmt.Fprintln(w, "where DIR is the trust directory of the endpoints; without it nobody makes sure of who signed")
		}
	}
}

// attachApproval ends what --external has begun.
func (p *program) attachApproval(c *cli.Context, o mirror.ApproveOptions) error {
	object, err := mirror.ReadSignedList(c.String("attach"))
	if err != nil {
		return err
	}
	list, approved, err := mirror.AttachApproval(c.Context, c.Args().First(), object, o)
	if err != nil {
		return err
	}
	data, err := verifier.MarshalList(list)
	if err != nil {
		return err
	}
	return p.showApproved(c, approveResult{"mirrorApproveResult", []approvedPackage{{Arch: list.Arch, Outcome: "approved", List: data,
		Files: []mirror.VendorFile{}, Zip: approved.Zip, Sidecar: approved.Sidecar, Note: approved.Note}}})
}
