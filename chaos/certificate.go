package chaos

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Certificate is what a sweep found. Its JSON is part of the program's interface.
type Certificate struct {
	Type         string      `json:"$type"`
	Program      string      `json:"program"` // its version
	Kernel       string      `json:"kernel"`
	Architecture string      `json:"architecture"`
	FileSystem   string      `json:"fileSystem"`
	Seed         uint64      `json:"seed"`
	Sample       int         `json:"sample"`  // how many kills and how many faults were asked for; 0: all
	OpenSSL      bool        `json:"openssl"` // it agreed with every signed list; false: it is not there
	Scenarios    []Scenario  `json:"scenarios"`
	LeftOut      []string    `json:"leftOut"`
	Violations   []Violation `json:"violations"`
	Seconds      float64     `json:"seconds"`
}

// Scenario is what was done to one command.
type Scenario struct {
	Name       string         `json:"name"`
	Points     int            `json:"points"` // in one run
	Kills      int            `json:"kills"`
	Faults     map[string]int `json:"faults"`     // by the name of the error
	Missed     int            `json:"missed"`     // runs in which the point did not come again
	NotReached []string       `json:"notReached"` // points that came in none of their runs
	Violations int            `json:"violations"`
	Seconds    float64        `json:"seconds"` // of all its runs, of which several were made at a time
}

// Violation is one run after which something did not hold.
type Violation struct {
	Run  string `json:"run"` // scenario, fault and point, as Options.Only takes it
	What string `json:"what"`
}

// MostUnreached is how many points may come in none of their runs, however often those are
// begun anew, before a sweep shows too little. There are some that come only when threads
// take turns as they did while points were counted.
const MostUnreached = 10

// Unreached is how many points came in none of their runs.
func (c Certificate) Unreached() (n int) {
	for _, s := range c.Scenarios {
		n += len(s.NotReached)
	}
	return n
}

// Passed tells that nothing was violated, and that the points were reached.
func (c Certificate) Passed() bool { return len(c.Violations) == 0 && c.Unreached() <= MostUnreached }

func newCertificate(o Options, dir string) Certificate {
	return Certificate{
		Type: "selftestResult", Program: o.Version, Kernel: kernel(), Architecture: runtime.GOARCH, FileSystem: fileSystem(dir), Seed: o.Seed, Sample: o.Points,
		Scenarios: []Scenario{}, LeftOut: []string{}, Violations: []Violation{},
	}
}

// kernel is its name and release, as uname has them.
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

// fileSystem is the type of what dir lies on, and how it is mounted.
func fileSystem(dir string) string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	point, found := "", "unknown"
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// 36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue
		mount, super, ok := strings.Cut(lines.Text(), " - ")
		m, s := strings.Fields(mount), strings.Fields(super)
		if !ok || len(m) < 5 || len(s) < 3 || len(m[4]) < len(point) {
			continue
		}
		if _, below := under(dir, strings.TrimSuffix(m[4], "/")); below {
			point, found = m[4], s[0]+" ("+s[2]+")"
		}
	}
	return found
}

// Text writes the certificate for people, in Markdown.
func (c Certificate) Text(w io.Writer) {
	fmt.Fprintf(w, "# Crash points and faults\n\n")
	row := func(name string, value any) { fmt.Fprintf(w, "| %s | %v |\n", name, value) }
	fmt.Fprintf(w, "| | |\n|---|---|\n")
	row("program", c.Program)
	row("kernel", c.Kernel+", "+c.Architecture)
	row("file system", c.FileSystem)
	row("runs", cmp.Or(sampled(c.Sample), "every point and every fault"))
	row("seed", c.Seed)
	row("signatures", map[bool]string{true: "OpenSSL agrees with each list that was published", false: "not compared, since OpenSSL is missing"}[c.OpenSSL])
	row("time", fmt.Sprintf("%.0f s", c.Seconds))
	row("not reached", fmt.Sprintf("%d points in any run, of which more than %d are a failure", c.Unreached(), MostUnreached))
	row("**violations**", fmt.Sprintf("**%d**", len(c.Violations)))
	row("result", map[bool]string{true: "**passed**", false: "**FAILED**"}[c.Passed()])
	var errnos []string
	for _, s := range c.Scenarios {
		errnos = append(errnos, slices.Collect(maps.Keys(s.Faults))...)
	}
	slices.Sort(errnos)
	errnos = slices.Compact(errnos)
	fmt.Fprintf(w, "\n| scenario | points | killed at | %s | missed | not reached | violations | s |\n|---|%s\n", strings.Join(errnos, " | "), strings.Repeat("---:|", len(errnos)+6))
	for _, s := range c.Scenarios {
		fmt.Fprintf(w, "| %s | %d | %d |", s.Name, s.Points, s.Kills)
		for _, e := range errnos {
			fmt.Fprintf(w, " %d |", s.Faults[e])
		}
		fmt.Fprintf(w, " %d | %d | %d | %.0f |\n", s.Missed, len(s.NotReached), s.Violations, s.Seconds)
	}
	for _, what := range c.LeftOut {
		fmt.Fprintf(w, "\nLeft out: %s.\n", what)
	}
	for _, s := range c.Scenarios {
		if len(s.NotReached) > 0 {
			fmt.Fprintf(w, "\nReached by no run of %s: %s.\n", s.Name, strings.Join(s.NotReached, ", "))
		}
	}
	for _, v := range c.Violations {
		fmt.Fprintf(w, "\nVIOLATION in %s: %s\n", v.Run, v.What)
	}
}

func sampled(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d kills and %d faults, chosen at random", n, n)
}
