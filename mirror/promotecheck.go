package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/printable"
	"mdatp-offline-agent/verifier"
)

// checkAge says whether a package that lies in the first ring since then has been
// there for long enough.
func checkAge(since, now time.Time, least time.Duration) error {
	if age := now.Sub(since); least > 0 && age < least {
		if age > time.Hour {
			age = age.Truncate(time.Minute)
		}
		return &Error{Code: codeCoolingDown, Sentence: fmt.Sprintf("the package is in the first ring for %s, and %s is the least", span(age), span(least)),
			Hint: "run the command again after " + since.Add(least).UTC().Format(time.RFC3339)}
	}
	return nil
}

// maxHealth is the most that a health file may have, in bytes.
const maxHealth = 1 << 20

// healthFile is what matters of the JSON of health --details definitions. The real
// product's has no engine version there.
type healthFile struct {
	Status             string
	Definition, Engine verifier.Version
}

// parseHealth reads the report of a test endpoint. It gives false for anything else.
func parseHealth(data []byte) (healthFile, bool) {
	var h struct {
		Type   string `json:"$type"`
		Status struct {
			Type string `json:"$type"`
		} `json:"definitionsStatus"`
		Definition verifier.Version `json:"definitionsVersion"` // null and empty where nothing is installed
		Engine     verifier.Version `json:"engineVersion"`
	}
	if err := json.Unmarshal(manifest.UTF8(data), &h); err != nil || h.Type != "getHealthDetailsDefinitionsResult" || h.Status.Type == "" {
		return healthFile{}, false
	}
	return healthFile{h.Status.Type, h.Definition, h.Engine}, true
}

// checkHealth says whether a test endpoint is well with exactly this package.
func checkHealth(h healthFile, want versions) (problem string) {
	switch {
	case h.Definition.IsZero():
		return "has no definitions"
	case h.Definition != want.Definition:
		return fmt.Sprintf("has definitions %s and not %s", h.Definition, want.Definition)
	case !h.Engine.IsZero() && h.Engine != want.Engine:
		return fmt.Sprintf("has engine %s and not %s", h.Engine, want.Engine)
	case h.Status != "upToDate":
		return "has definitions " + want.Definition.String() + " and does not call itself up_to_date"
	}
	return ""
}

// checkHealthFiles has every test endpoint asked by its file.
func checkHealthFiles(paths []string, want versions) error {
	for i, path := range paths {
		h, err := readHealth(path)
		if err != nil {
			return err
		}
		if problem := checkHealth(h, want); problem != "" {
			return &Error{Code: codeCoolingDown, Sentence: fmt.Sprintf("test endpoint %d of %d %s", i+1, len(paths), problem),
				Hint: "its report is " + printable.Quote(path) + "; have it written anew when the endpoint has updated, or look why it does not"}
		}
	}
	return nil
}

func readHealth(path string) (healthFile, error) {
	f, _, err := openRegular("the health file of a test endpoint", path)
	if err != nil {
		return healthFile{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxHealth))
	if err != nil {
		return healthFile{}, fileError("the health file of a test endpoint", path, err)
	}
	h, ok := parseHealth(data)
	if !ok {
		return h, usage("a health file is no report of an endpoint", "write "+printable.Quote(path)+" with agent health --details definitions --output json on the endpoint", nil)
	}
	return h, nil
}

// maxTestOutput is how much of a test program's output the log gets, in bytes.
const maxTestOutput = 4 << 10

// DefaultTestTimeout is how long a test program may run where nothing else is said.
const DefaultTestTimeout = 10 * time.Minute

// runTest runs the owner's program without a shell, with the environment env besides
// PATH, HOME and LANG. A passphrase in the environment is not for it.
func runTest(ctx context.Context, program string, timeout time.Duration, env []string) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	output := &head{left: maxTestOutput}
	cmd := exec.CommandContext(limited, program)
	cmd.Stdout, cmd.Stderr = output, output
	for _, name := range []string{"PATH", "HOME", "LANG"} {
		cmd.Env = append(cmd.Env, name+"="+os.Getenv(name))
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = time.Second // for what it started and left behind with its output
	killAll(cmd)
	err := cmd.Run()
	var exit *exec.ExitError
	failed := &Error{Code: codeTest, Hint: "run " + printable.Quote(program) + " by hand; what it wrote is in the log at level debug",
		Err: fmt.Errorf("%w, output %s", err, printable.Quote(output.kept.String()))}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &Error{Code: codeInterrupt, Sentence: "the command was interrupted", Hint: "run it again", Err: ctx.Err()}
	case limited.Err() != nil:
		failed.Sentence = fmt.Sprintf("the test program ran longer than %s", timeout)
	case errors.As(err, &exit) && exit.Exited():
		failed.Sentence = fmt.Sprintf("the test program ended with exit code %d", exit.ExitCode())
	case errors.As(err, &exit):
		failed.Sentence = "the test program was ended by a signal"
	case errors.Is(err, exec.ErrWaitDelay):
		failed.Sentence = "the test program left a process behind that holds its output"
	default:
		failed.Code, failed.Sentence, failed.Hint = codeUsage, "the test program can not be run", "give the path of a program that this user may execute; "+printable.Quote(program)+" is none"
	}
	return failed
}

// head keeps the beginning of what is written to it.
type head struct {
	kept bytes.Buffer
	left int
}

func (h *head) Write(p []byte) (int, error) {
	n := min(len(p), h.left)
	h.left -= n
	h.kept.Write(p[:n])
	return len(p), nil
}
