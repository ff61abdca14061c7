package docs_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// noHint are sentences of symptoms that need no hint, since they say what is so.
var noHint = []string{"Testing connection with http://", "DEFINITIONS WARNING", "the cloud is not asked, since",
	"antivirusEngine.enforcementLevel is passive, and periodic updates need real_time"}

// TestSymptoms wants every sentence that a symptom leads to in a transcript of the
// program, with a hint in the same line or soon behind it.
func TestSymptoms(t *testing.T) {
	t.Parallel()
	_, table, _ := strings.Cut(read(t, "operations.md"), "\n## Troubleshooting by symptom\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var transcripts strings.Builder
	scripts, err := filepath.Glob("../cmd/agent/testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		transcripts.WriteString(read(t, script))
	}
	// Where a transcript is a pattern, it has more signs than the sentence.
	said := strings.NewReplacer(`\`, "", "''", "'").Replace(transcripts.String())
	found := regexp.MustCompile("(?m)\\| `([^`\n]+)` \\|$").FindAllStringSubmatch(table, -1)
	const least = 30 // far fewer would mean that they are not found any more
	if len(found) < least {
		t.Fatalf("only %d sentences were found in the table of symptoms", len(found))
	}
	for _, m := range found {
		if !strings.Contains(said, m[1]) {
			t.Errorf("operations.md leads to the sentence %q, which is in no transcript", m[1])
		} else if !slices.Contains(noHint, m[1]) && !hinted(said, m[1]) {
			t.Errorf("operations.md leads to the sentence %q, which has a hint in no transcript", m[1])
		}
	}
}

// hinted says whether a transcript has a hint in the line of a sentence, or in one of
// the two behind it.
func hinted(said, sentence string) bool {
	for i, line := 0, strings.Split(said, "\n"); i < len(line); i++ {
		soon := strings.Join(line[i:min(i+3, len(line))], "\n")
		if strings.Contains(line[i], sentence) && strings.Contains(soon, "hint: ") {
			return true
		}
	}
	return false
}
