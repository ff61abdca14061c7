package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"mdatp-offline-agent/agent/reason"
	"mdatp-offline-agent/mirror"
	"mdatp-offline-agent/verifier"
	"mdatp-offline-agent/verifier/trustdir"
)

// vendorFlags are those of commands that judge the signatures of a vendor's own.
func vendorFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "vendor-trust", Usage: "`DIR` with the roots of vendors and of their time stamps; else the directory vendor in the trust directory of this machine"},
		&cli.StringSliceFlag{Name: "vendor-pin", Usage: "`PIN` of a vendor's signer or of the CA right above it, base64 of the SHA-256 of its key; repeat it for each"},
	}
}

// vendorTrust is what the options of vendorFlags say. Nobody is trusted where this
// machine has no such directory and none was named, unless somebody must be.
func (p *program) vendorTrust(c *cli.Context, must bool) (verifier.Trust, error) {
	var pins []verifier.Pin
	for _, text := range c.StringSlice("vendor-pin") {
		pin, err := verifier.ParsePin(text)
		if err != nil {
			return verifier.Trust{}, &usageError{"--vendor-pin takes a pin", "agent package inspect shows those of a file"}
		}
		pins = append(pins, pin)
	}
	dir, root := c.String("vendor-trust"), c.String("vendor-trust")
	nobody := func() (verifier.Trust, error) {
		if must {
			return verifier.Trust{}, needed(c, "vendor-trust")
		}
		return verifier.Trust{}, nil
	}
	if dir == "" && p.paths.Trust == "" { // where no endpoint runs
		return nobody()
	}
	if dir == "" {
		dir, root = filepath.Join(p.paths.Trust, "vendor"), p.paths.Root
	}
	trust, err := trustdir.Load(root, dir, pins)
	var refused *verifier.Refusal
	if c.String("vendor-trust") == "" && errors.As(err, &refused) && refused.Code == verifier.TrustDirEmpty {
		return nobody()
	}
	return trust, err
}

// vendorFiles shows what was found out about files, and their digests.
func vendorFiles(w io.Writer, files []mirror.VendorFile, changes map[string]mirror.FileChange) {
	mirror.FilesTable(w, files, changes)
	for _, f := range files {
		fmt.Fprintf(w, "  %s  %s\n", f.Hex, f.Name)
	}
}

// examineFile shows what was found out about a file of a vendor's that is no package.
// Where that is to be judged, the verdict is the exit code.
func (p *program) examineFile(c *cli.Context, path string, judge bool) error {
	trust, err := p.vendorTrust(c, false)
	if err != nil {
		return err
	}
	f, err := mirror.ExamineFile(path, trust, time.Now())
	if err != nil {
		return err
	}
	_ = p.show(c, struct {
		Type string            `json:"$type"`
		File mirror.VendorFile `json:"file"`
	}{"vendorFileResult", f}, func(w io.Writer) {
		vendorFiles(w, []mirror.VendorFile{f}, nil)
		mirror.SignersText(w, []mirror.VendorFile{f})
		if f.Problem != nil && !judge {
			fmt.Fprintf(w, "  %s: %s\n", f.Problem.Code, f.Problem.Message)
		}
	})
	if f.Problem == nil || !judge {
		return nil
	}
	return p.refused(c, *f.Problem)
}

// refused ends a command whose result is shown, and which has the problem in its JSON.
func (p *program) refused(c *cli.Context, why mirror.Problem) error {
	if c.String("output") != "json" {
		p.showFailure(false, &reason.Failure{Code: why.Code, Message: why.Message, Hint: why.Hint})
	}
	p.exit = reason.ExitCode(why.Code)
	return errShown
}

// verifyVendor judges a package by its vendor's signatures alone.
func (p *program) verifyVendor(c *cli.Context) error {
	for _, name := range []string{"require-vendor", "trust", "product", "platform", "ring"} {
		if c.IsSet(name) {
			return &usageError{"--" + name + " is about the signed list, and --vendor-only asks for none", "leave out --" + name + ", or --vendor-only"}
		}
	}
	trust, err := p.vendorTrust(c, true)
	if err != nil {
		return err
	}
	path := c.Args().First()
	files, said, err := mirror.VerifyVendor(c.Context, path, c.String("arch"), trust, time.Now())
	if err != nil && len(files) == 0 {
		return err
	}
	result := struct {
		Type       string              `json:"$type"`
		Zip        string              `json:"zip"`
		List       any                 `json:"list"` // always null
		Definition *verifier.Version   `json:"definitionsVersion"`
		Files      []mirror.VendorFile `json:"files"`
		Problem    *mirror.Problem     `json:"problem"`
	}{"packageVerifyResult", path, nil, &said, files, nil}
	if f := reason.Explain(err); f != nil {
		result.Definition, result.Problem = nil, &mirror.Problem{Code: f.Code, Message: f.Message, Hint: f.Hint}
	}
	_ = p.show(c, result, func(w io.Writer) {
		if err == nil {
			fmt.Fprintf(w, "%s: good by the vendor's signatures alone, definitions %s for %s\n", path, said, c.String("arch"))
		}
		vendorFiles(w, files, nil)
		mirror.SignersText(w, files)
	})
	if result.Problem == nil {
		return nil
	}
	return p.refused(c, *result.Problem)
}

// inspectFiles reads the files of a package for their vendor's signatures. Why they
// can't be read is the package's problem, unless it has one already.
func (p *program) inspectFiles(c *cli.Context, found *mirror.Inspection) ([]mirror.VendorFile, error) {
	trust, err := p.vendorTrust(c, false)
	if err != nil || len(found.Entries) == 0 {
		return []mirror.VendorFile{}, err
	}
	files, err := mirror.ExaminePackage(c.Context, found.Path, trust, time.Now())
	var own *mirror.Error
	if errors.As(err, &own) {
		return nil, err
	}
	if f := reason.Explain(err); f != nil && found.Problem == nil {
		found.Problem = &mirror.Problem{Code: f.Code, Message: f.Message, Hint: f.Hint}
	}
	return append([]mirror.VendorFile{}, files...), nil
}

// verifyFiles judges the vendor's signatures of a package that has that list, where that
// is asked for.
func (p *program) verifyFiles(c *cli.Context, path string, list *verifier.List) ([]mirror.VendorFile, error) {
	trust, err := p.vendorTrust(c, c.Bool("require-vendor"))
	if err != nil || trust.Empty() {
		return []mirror.VendorFile{}, err
	}
	files, err := mirror.ExaminePackage(c.Context, path, trust, time.Now())
	if err == nil && c.Bool("require-vendor") {
		err = mirror.CheckVendor(files, list.Arch, list.Definition)
	}
	return files, err
}
