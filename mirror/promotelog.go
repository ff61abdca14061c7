package mirror

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// promotionsFile is the log of promotions, in the directory above the rings. Web
// servers as they are set up for a mirror serve no hidden file.
const promotionsFile = ".promotions.log"

// Bounds of the log, in bytes. A line has two paths in it.
const (
	maxPromotions     = 64 << 20
	maxPromotionsLine = 32 << 10
)

// noLine is what the first line names as the one before it.
var noLine = strings.Repeat("0", 2*sha256.Size)

// The actions that the log knows.
const (
	actionPromote = "promote"
	actionRenew   = "renew" // the same content with a newer list
	actionUndo    = "undo"
)

// Promotion is one line of the log: what was about to be done when it was written.
type Promotion struct {
	Time       time.Time          `json:"time"` // the same for all lines of one run
	User       string             `json:"user"`
	Host       string             `json:"host"`
	Action     string             `json:"action"`         // promote, renew, undo
	From       string             `json:"from,omitempty"` // name of the ring; its path where it lies elsewhere
	To         string             `json:"to"`             // name of the ring
	Arch       string             `json:"arch"`
	Engine     verifier.Version   `json:"engineVersion"`
	Definition verifier.Version   `json:"definitionVersion"`
	Content    verifier.ContentID `json:"content"`         // of what is published from now on
	Undone     verifier.ContentID `json:"undone,omitzero"` // that undo took back
	Before     string             `json:"before"`          // SHA-256 of the line before, in hexadecimal
}

// LoggedPromotion is a line of the log, and the SHA-256 of its bytes without the
// newline, in hexadecimal.
type LoggedPromotion struct {
	Promotion
	Hash string `json:"hash"`
}

// parsePromotions reads a log, and checks that each line names the one before. whole
// is the length of the lines that have their end: behind them can be the beginning of
// one that a crash cut off. Errors: content_mismatch.
func parsePromotions(data []byte) (lines []LoggedPromotion, whole int, err error) {
	before := noLine
	for {
		line, _, found := bytes.Cut(data[whole:], []byte("\n"))
		if !found {
			return lines, whole, nil
		}
		n := len(lines) + 1
		var p Promotion
		if len(line) > maxPromotionsLine || json.Unmarshal(line, &p) != nil || !p.valid() {
			return nil, 0, badPromotions(fmt.Sprintf("line %d of the log of promotions is none that this program writes", n))
		}
		if p.Before != before {
			return nil, 0, badPromotions(fmt.Sprintf("line %d of the log of promotions does not name the line before it", n))
		}
		sum := sha256.Sum256(line)
		before = hex.EncodeToString(sum[:])
		lines = append(lines, LoggedPromotion{p, before})
		whole += len(line) + 1
	}
}

func (p Promotion) valid() bool {
	switch p.Action {
	case actionPromote, actionRenew, actionUndo:
		return p.To != "" && p.Arch != "" && !p.Time.IsZero()
	}
	return false
}

func badPromotions(sentence string) error {
	return &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: sentence,
		Hint: "somebody changed the log, so compare it with a copy of it; to begin a new one, put this one aside under another name"}
}

// promotionLog is the log, open for one more line. Only who holds the tree's lock may
// have it.
type promotionLog struct {
	path  string
	file  *os.File // nil: it is not there yet
	lines []LoggedPromotion
}

// openPromotions opens the log of the rings in dir. Where there is none, the first line
// makes it. What a crash left of a line is taken away: nothing can name it.
func openPromotions(dir string) (*promotionLog, error) {
	l := &promotionLog{path: filepath.Join(dir, promotionsFile)}
	err := l.open(0)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fileError("the log of promotions", l.path, err)
	}
	var whole int
	if l.lines, whole, err = readPromotions(l.file); err == nil {
		err = errors.Join(l.file.Truncate(int64(whole)), syncDir(dir))
	}
	if err != nil {
		l.file.Close()
		return nil, fileError("the log of promotions", l.path, err)
	}
	return l, nil
}

func (l *promotionLog) open(create int) (err error) {
	l.file, err = os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|noFollow|create, 0o644)
	return err
}

// readPromotions reads a log to its end.
func readPromotions(f *os.File) (lines []LoggedPromotion, whole int, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxPromotions {
		return nil, 0, badPromotions(fmt.Sprintf("the log of promotions is no regular file, or has more than %d bytes", maxPromotions))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPromotions))
	if err != nil {
		return nil, 0, err
	}
	return parsePromotions(data)
}

// loadPromotions reads the log at path, which stays as it is. torn says that the
// beginning of one more line stands at the end.
func loadPromotions(path string) (lines []LoggedPromotion, torn bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	if err != nil {
		return nil, false, fileError("the log of promotions", path, err)
	}
	defer f.Close()
	lines, whole, err := readPromotions(f)
	var info fs.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	if err != nil {
		return nil, false, fileError("the log of promotions", path, err)
	}
	return lines, info.Size() > int64(whole), nil
}

// lastPromotionLine gives the number and the hash of the last line of the log beside a
// ring, for a list that is about to be signed; 0 and empty where nothing was promoted
// yet. The list that is replaced, if any, must name a line of the log, unless anew.
func lastPromotionLine(ring string, replaced *verifier.List, anew bool) (n int, hash string, err error) {
	lines, _, err := loadPromotions(filepath.Join(filepath.Dir(ring), promotionsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, "", err
	}
	if err := keepsAnchor(lines, replaced, "give --force"); err != nil && !anew {
		return 0, "", err
	}
	if len(lines) == 0 {
		return 0, "", nil
	}
	return len(lines), lines[len(lines)-1].Hash, nil
}

// keepsAnchor refuses to replace a list that names a line which the log does not have:
// the list may be all that shows that somebody changed the log. instead is what else
// than the log of before helps.
func keepsAnchor(lines []LoggedPromotion, replaced *verifier.List, instead string) error {
	if replaced == nil || replaced.PromotionLog == "" || lineOf(lines, replaced.PromotionLog) > 0 {
		return nil
	}
	return &verifier.Refusal{Code: verifier.ContentMismatch, Sentence: "the signed list that would be replaced names a line that the log of promotions does not have",
		Hint: "put the log back from a copy, and look who changed it; to begin a new one on purpose, keep a copy of the list, and " + instead}
}

// lineOf gives the number of the line with that hash, from 1 on; 0 where there is none.
func lineOf(lines []LoggedPromotion, hash string) int {
	return slices.IndexFunc(lines, func(l LoggedPromotion) bool { return l.Hash == hash }) + 1
}

// last gives the hash of the last line.
func (l *promotionLog) last() string {
	if len(l.lines) == 0 {
		return noLine
	}
	return l.lines[len(l.lines)-1].Hash
}

// append writes one more line, and gives its hash. The line is on the disk when it
// returns.
func (l *promotionLog) append(p Promotion) (hash string, err error) {
	line, logged, err := l.next(p)
	if err != nil {
		return "", err
	}
	if l.file == nil {
		if err := errors.Join(l.open(os.O_CREATE|os.O_EXCL), syncDir(filepath.Dir(l.path))); err != nil {
			return "", fileError("the log of promotions", l.path, err)
		}
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return "", fileError("the log of promotions", l.path, err)
	}
	if err := l.file.Sync(); err != nil {
		return "", fileError("the log of promotions", l.path, err)
	}
	l.lines = append(l.lines, logged)
	return logged.Hash, nil
}

// hashOf gives the hash that append will give.
func (l *promotionLog) hashOf(p Promotion) (string, error) {
	_, logged, err := l.next(p)
	return logged.Hash, err
}

// next gives the line that would be the next one.
func (l *promotionLog) next(p Promotion) (line []byte, logged LoggedPromotion, err error) {
	p.Before = l.last()
	if line, err = json.Marshal(p); err != nil {
		return nil, LoggedPromotion{}, err
	}
	if len(line) > maxPromotionsLine {
		return nil, LoggedPromotion{}, usage("the paths of the rings are too long for the log of promotions", "give shorter ones", nil)
	}
	sum := sha256.Sum256(line)
	return line, LoggedPromotion{p, hex.EncodeToString(sum[:])}, nil
}

func (l *promotionLog) close() {
	if l.file != nil {
		l.file.Close()
	}
}

// PromotionAnchor is a signed list that names a line of the log.
type PromotionAnchor struct {
	File string `json:"file"`
	Line int    `json:"line"` // from 1 on
}

// Promotions is a log that holds together.
type Promotions struct {
	Log   string            `json:"log"`
	Lines []LoggedPromotion `json:"promotions"`
	// Torn says that the beginning of one more line stands at the end, as a crash
	// leaves it. The next promotion takes it away.
	Torn bool `json:"torn"`
	// Anchors are the lists that name a line. Whoever took lines off the end, or wrote
	// the log anew, would have to change these, too.
	Anchors []PromotionAnchor `json:"anchors"`
	// Signed says that the signatures of the anchors were verified.
	Signed bool `json:"signed"`
}

// CheckPromotions reads the log beside the ring's directory, and checks that each
// line names the one before, and that the lists of the ring, of the rings beside it
// that the log names, of their n-1, and of the files in lists (packages or signed
// lists, an endpoint's META/package.p7m for one) name lines of it. With trust these
// lists must be signed by somebody in it.
//
// Errors: nothing_installed where there is no log; content_mismatch where it was
// changed; the verifier's codes for lists; usage.
func CheckPromotions(ring string, lists []string, trust *verifier.Trust) (Promotions, error) {
	ring, err := realRing(ring)
	if err != nil {
		return Promotions{}, fileError("the ring", ring, err)
	}
	found := Promotions{Log: filepath.Join(filepath.Dir(ring), promotionsFile), Lines: []LoggedPromotion{}, Anchors: []PromotionAnchor{}, Signed: trust != nil}
	lines, torn, err := loadPromotions(found.Log)
	none := &Error{Code: codeNothing, Sentence: "there is no log of promotions beside the ring", Hint: "promote something first, or check the path " + printable.Quote(ring)}
	if errors.Is(err, fs.ErrNotExist) {
		return found, none
	}
	if err != nil {
		return found, err
	}
	found.Lines, found.Torn = append(found.Lines, lines...), torn
	for _, ring := range loggedRings(ring, lines) {
		for _, arch := range SyncArchs() {
			path := filepath.Join(ring, "arch_"+arch, zipSidecar)
			if _, err := os.Stat(path); err == nil {
				if err := found.anchor(path, trust, false); err != nil {
					return found, err
				}
			}
		}
	}
	for _, path := range lists {
		if err := found.anchor(path, trust, true); err != nil {
			return found, err
		}
	}
	if len(found.Lines) == 0 && !found.Torn { // and no list names a line of it
		return found, none
	}
	return found, nil
}

// loggedRings gives the directory of the ring, those of the rings beside it that the
// log names, since approvals in these name lines, too, and those of their n-1.
func loggedRings(ring string, lines []LoggedPromotion) (dirs []string) {
	names := []string{filepath.Base(ring)}
	for _, l := range lines {
		for _, name := range []string{l.From, l.To} {
			if filepath.IsLocal(name) && !slices.Contains(names, name) { // else it is the path of another tree
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		dir := filepath.Join(filepath.Dir(ring), name)
		dirs = append(dirs, dir, dir+"_back")
	}
	return dirs
}

// anchor looks for the line that the list of a package, a sidecar or a bare list names.
// Where it needs not name one, it is no anchor then, and not judged.
func (p *Promotions) anchor(path string, trust *verifier.Trust, needed bool) error {
	c, err := openClaim(path)
	defer c.close()
	if err != nil {
		return err
	}
	claims, err := verifier.ReadClaims(c.object)
	if err != nil {
		return err
	}
	list := claims.List
	switch {
	case list.PromotionLog == "" && needed:
		return usage("a signed list names no line of a log of promotions", "leave out "+printable.Quote(path)+", or give a list that promote has signed", nil)
	case list.PromotionLog == "":
		return nil
	}
	if trust != nil { // old ones count, too, so the signer is judged at the time of issue
		if _, err := verifySigned(*trust, c.object, list.Issued); err != nil {
			return hinted(err, "; or, where "+printable.Quote(path)+" is of before a change of CA, give a trust directory that has that one, too")
		}
	}
	n := lineOf(p.Lines, list.PromotionLog)
	if n == 0 {
		if err := p.readOn(); err != nil {
			return err
		}
		n = lineOf(p.Lines, list.PromotionLog)
	}
	if n == 0 {
		return badPromotions("a signed list names a line that the log of promotions does not have")
	}
	p.Anchors = append(p.Anchors, PromotionAnchor{path, n})
	return nil
}

// readOn takes lines that were written since the log was read: nobody is kept from
// promoting meanwhile, and a line is there before the list that names it.
func (p *Promotions) readOn() error {
	lines, torn, err := loadPromotions(p.Log)
	if err != nil {
		return err
	}
	if known := len(p.Lines); known > 0 && (len(lines) < known || lines[known-1].Hash != p.Lines[known-1].Hash) {
		return badPromotions("the log of promotions has become another one while it was read")
	}
	p.Lines, p.Torn = lines, torn
	return nil
}
