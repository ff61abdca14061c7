package mirror

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"mdatp-offline-agent/agent/source/manifest"
	"mdatp-offline-agent/printable"
)

// maxSettings is the most that settings.json may have, in bytes.
const maxSettings = 64 << 10

// SyncSettings is what the settings.json of the vendor's downloader says.
type SyncSettings struct {
	DownloadFolder string // root of the tree that is filled
	LogFile        string // diagnostic log, rotated at 100 KiB
	Linux, Mac     bool   // platforms to download for
	Preview        bool   // the preview ring beside production
	Backup         bool   // keep n-1 in RING_back
	// Unknown names the keys that mean nothing, fit to be shown.
	Unknown []string
}

// ReadSyncSettings reads the vendor's own settings.json. home is the user's home
// directory, below which the default download folder lies; empty where there is
// none. Errors: config_invalid.
func ReadSyncSettings(path, home string) (SyncSettings, error) {
	f, size, err := openRegular("the settings file", path)
	if err == nil {
		defer f.Close()
		var s SyncSettings
		if s, err = readSyncSettings(io.LimitReader(f, maxSettings), size, home); err == nil {
			return s, nil
		}
	}
	return SyncSettings{}, &Error{Code: codeConfig, Sentence: sentenceOf(err), Hint: "correct " + printable.Quote(path) + "; " + settingsHint, Err: err}
}

func readSyncSettings(r io.Reader, size int64, home string) (SyncSettings, error) {
	if size > maxSettings {
		return SyncSettings{}, badSettings(fmt.Sprintf("the settings file has more than %d bytes", maxSettings))
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return SyncSettings{}, err
	}
	return parseSyncSettings(data, home)
}

// sentenceOf is what an error with a reason says, and fixed words for others.
func sentenceOf(err error) string {
	if _, sentence, _ := reasonOf(err); sentence != "" {
		return sentence
	}
	return "the settings file can not be read"
}

const settingsHint = "mdatp-agent(8) tells of its fields"

func badSettings(sentence string) error {
	return &Error{Code: codeConfig, Sentence: sentence, Hint: settingsHint}
}

// The defaults are those of the vendor's script. There, too, what is null counts
// as left out, and "true" as true.
const (
	defaultFolder = "wdav-update" // below the home directory
	defaultLog    = "/tmp/mdatp_offline_updates.log"
)

// parseSyncSettings reads the text of a settings.json.
func parseSyncSettings(data []byte, home string) (SyncSettings, error) {
	var fields map[string]json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(manifest.UTF8(data)))
	if err := dec.Decode(&fields); err != nil || fields == nil {
		return SyncSettings{}, badSettings("the settings file is no JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return SyncSettings{}, badSettings("something follows behind the JSON object in the settings file")
	}
	s := SyncSettings{LogFile: defaultLog}
	if home != "" {
		s.DownloadFolder = filepath.Join(home, defaultFolder)
	}
	for name, take := range map[string]func(json.RawMessage) error{
		"downloadFolder": pathField(&s.DownloadFolder), "logFilePath": pathField(&s.LogFile),
		"downloadLinuxUpdates": boolField(&s.Linux), "downloadMacUpdates": boolField(&s.Mac),
		"downloadPreviewUpdates": boolField(&s.Preview), "backupPreviousUpdates": boolField(&s.Backup),
	} {
		if raw, there := fields[name]; there && string(raw) != "null" {
			if err := take(raw); err != nil {
				return SyncSettings{}, badSettings(name + " in the settings file " + err.Error())
			}
		}
		delete(fields, name)
	}
	const shown = 64 // bytes of a name
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		s.Unknown = append(s.Unknown, printable.Sentence(name, shown))
	}
	switch {
	case s.DownloadFolder == "":
		return SyncSettings{}, badSettings("the settings file lacks downloadFolder, and this user has no home directory")
	case !s.Linux && !s.Mac:
		return SyncSettings{}, badSettings("the settings file asks for nothing, since downloadLinuxUpdates and downloadMacUpdates are both off")
	}
	return s, nil
}

// badValue is the rest of a sentence about a value, without the value.
type badValue string

func (b badValue) Error() string { return string(b) }

// pathField takes a path. The shell's shorthand for a home directory would become a
// directory of that name.
func pathField(to *string) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		var text string
		switch err := json.Unmarshal(raw, &text); {
		case err != nil || text == "" || strings.ContainsRune(text, 0):
			return badValue("is no path")
		case text == "~" || strings.HasPrefix(text, "~/"):
			return badValue("begins with a tilde, which only a shell understands")
		}
		*to = text
		return nil
	}
}

// boolField takes true or false, also as text.
func boolField(to *bool) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		switch strings.Trim(string(raw), `"`) {
		case "true":
			*to = true
		case "false":
			*to = false
		default:
			return badValue("is neither true nor false")
		}
		return nil
	}
}
