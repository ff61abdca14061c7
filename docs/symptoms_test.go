package docs_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSymptoms wants every sentence that a symptom leads to in a transcript of the
// program.
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
		}
	}
}
