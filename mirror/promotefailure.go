package mirror

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// PromotionFailure is why a package of one architecture was not promoted.
type PromotionFailure struct {
	// Ring is what the log calls the ring that the reason is about: the name of its
	// directory, or its path where that lies in another tree.
	Ring string
	Arch string
	Err  error
}

func (e *PromotionFailure) Error() string { return e.Place() + ": " + e.Err.Error() }
func (e *PromotionFailure) Unwrap() error { return e.Err }

// Place names ring and architecture, fit to be shown; empty where there is no failure.
func (e *PromotionFailure) Place() string {
	if e == nil {
		return ""
	}
	return printable.Sentence(e.Ring, maxName) + "/arch_" + e.Arch
}

func (r *promotion) failure(err error) error {
	return &PromotionFailure{r.at, r.arch, treeError("the tree of packages", r.o.To, err)}
}

// unapproved gives a refusal of what lies in the first ring a remedy that its owner has:
// what endpoints are told is for endpoints.
func (r *promotion) unapproved(file string, err error) error {
	refused := (*verifier.Refusal)(nil)
	if !errors.As(err, &refused) || refused.Code != verifier.PackageExpired {
		return err
	}
	copied := *refused
	copied.Hint = "build or publish a newer package in the first ring"
	if strings.HasSuffix(file, sidecarSuffix) || exists(file+sidecarSuffix) {
		copied.Hint = "renew it in the first ring with agent mirror approve " + printable.Quote(r.o.From) + " --renew, or approve a newer one there"
	}
	copied.Sentence = "the package in the first ring has expired"
	return &copied
}

// refusedNext says of the refusal of a list that we have just signed whose it is.
func (r *promotion) refusedNext(err error) error {
	refused := (*verifier.Refusal)(nil)
	if r.good.Origin != Sidecar || !errors.As(err, &refused) {
		return err
	}
	copied := *refused
	copied.Sentence = "the new list for " + printable.Sentence(filepath.Base(r.o.To), maxName) + " would be refused, since " + refused.Sentence
	if refused.Code == verifier.SignerUntrusted {
		copied.Hint = "give --key and --cert of a signer whom the endpoints trust, with the certificates between, and their trust directory with --trust"
	}
	return &copied
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// span says how long something is, in days, hours, minutes and seconds.
func span(d time.Duration) string {
	var parts []string
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		n := d / unit.size
		d -= n * unit.size
		switch {
		case n == 1:
			parts = append(parts, "1 "+unit.name)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, unit.name))
		}
	}
	if len(parts) == 0 {
		return "less than a second"
	}
	return strings.Join(parts, " ")
}
