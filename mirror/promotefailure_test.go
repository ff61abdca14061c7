package mirror

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What keeps a package from another ring says of which ring and architecture it is, and
// what the owner of the mirror can do.
func TestPromotionFailure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change                func(r *rings)
		place, sentence, hint string
	}{
		"expired":       {func(r *rings) { r.now = r.now.AddDate(0, 0, 30) }, "preview/arch_x86_64", "in the first ring has expired", "--renew"},
		"untrusted key": {func(r *rings) { r.o.Sign = &newRings(t).signer }, "production/arch_x86_64", "the new list for production would be refused", "--key and --cert"},
		"too young":     {func(r *rings) { r.o.MinAge = 60 * time.Hour }, "preview/arch_x86_64", "and 2 days 12 hours is the least", "run the command again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRings(t)
			r.approve("1.407.418.0", nil)
			c.change(r)
			_, err := Promote(t.Context(), r.o)
			at := (*PromotionFailure)(nil)
			_, sentence, hint := reasonOf(err)
			if !errors.As(err, &at) || at.Place() != c.place || !strings.Contains(sentence, c.sentence) || !strings.Contains(hint, c.hint) {
				t.Errorf("%v: %s; %s", err, sentence, hint)
			}
		})
	}
}

// What fails on its arguments leaves nothing behind, and a typing error makes no ring.
func TestPromoteArguments(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *rings){
		"to itself":     func(r *rings) { r.o.To = r.o.From },
		"from nowhere":  func(r *rings) { r.o.From += "x" },
		"a wrong name":  func(r *rings) { r.o.To, r.o.Ring = r.o.To[:len(r.o.To)-1], "" },
		"to no tree":    func(r *rings) { r.o.To = filepath.Join(r.o.To, "x", "production") },
		"nothing there": func(r *rings) { os.RemoveAll(r.in("preview", "")) },
		"no such arch":  func(r *rings) { r.o.Archs = []string{"x86_64", "arm64"} },
		"an unknown":    func(r *rings) { r.o.Archs = []string{"mips"} },
		"from a file":   func(r *rings) { r.o.From = r.in("preview", "updates.zip") },
		"and its arch":  func(r *rings) { r.o.From, r.o.Archs = r.in("preview", "updates.zip"), []string{"x86_64"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRings(t)
			r.approve("1.407.418.0", nil)
			production := r.o.To
			change(r)
			_, err := Promote(t.Context(), r.o)
			wantCode(t, err, codeUsage)
			_, err = UndoPromotion(production, nil, nil)
			wantCode(t, err, codeNothing)
			for _, left := range []string{production, filepath.Join(filepath.Dir(production), promotionsFile), filepath.Join(treeOf(production), ".sync.lock")} {
				if exists(left) {
					t.Errorf("%s was made", left)
				}
			}
		})
	}
	r := newRings(t)
	r.approve("1.407.418.0", nil)
	r.o.To = filepath.Join(filepath.Dir(r.o.To), "site")
	if _, err := Promote(t.Context(), r.o); err != nil { // its ring is named
		t.Error(err)
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{"2 days": 48 * time.Hour, "1 day 12 hours": 36 * time.Hour, "1 hour 1 minute 1 second": time.Hour + time.Minute + time.Second,
		"less than a second": time.Millisecond, "90 days": 90 * 24 * time.Hour} {
		if got := span(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
