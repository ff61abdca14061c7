package agent

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"mdatp-offline-agent/managedconfig"
)

// maxNamedFile is the most that a file which the configuration names may have,
// in bytes. A bundle of authorities has some 200 KiB.
const maxNamedFile = 1 << 20

// maxHeaders is how many extra headers there may be.
const maxHeaders = 16

// What other users must not be permitted: with a file that says whom we trust or
// who we are, and with one that is secret.
const (
	writableByOthers fs.FileMode = 0o022
	openToOthers     fs.FileMode = 0o077
)

// readNamed reads a file that the configuration names under key, and that must
// have none of the permissions in forbidden. What is no regular file is refused
// without waiting for it.
func readNamed(key, path string, forbidden fs.FileMode) ([]byte, error) {
	refuse := func(problem, hint string, cause error) error {
		return &managedconfig.Error{File: path, Key: key, Problem: problem, Hint: hint, Err: cause}
	}
	const readable = "make it a regular file that the user of the agent may read, or remove the key"
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, refuse("the file can not be opened", readable, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, refuse("it is no regular file", readable, err)
	}
	if info.Mode().Perm()&forbidden != 0 {
		if forbidden == openToOthers {
			return nil, refuse("other users are permitted to use the file, which is secret", "give it to the user of the agent, with mode 0600", nil)
		}
		return nil, refuse("other users are permitted to write to the file", "take that from them with chmod go-w", nil)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxNamedFile+1))
	if err != nil {
		return nil, refuse("the file can not be read", readable, err)
	}
	if len(data) > maxNamedFile {
		return nil, refuse("the file is larger than 1 MiB", "check that it is the right file", nil)
	}
	return data, nil
}

// credentials are who we are, for servers that want to know. Their text form
// hides them, so that none can slip into a log.
type credentials struct {
	header http.Header   // for the mirror
	proxy  *url.Userinfo // for a configured proxy; nil for none
}

// String hides the values.
func (credentials) String() string { return "(hidden)" }

// GoString hides the values, too.
func (credentials) GoString() string { return "(hidden)" }

// readCredentials reads the file of credentials; none where path is empty.
func readCredentials(path string) (credentials, error) {
	if path == "" {
		return credentials{}, nil
	}
	data, err := readNamed("agent.credentialsFile", path, openToOthers)
	if err != nil {
		return credentials{}, err
	}
	return parseCredentials(path, data)
}

// credentialsHint shows the form of the file.
const credentialsHint = "write an object with basic and proxy, each with username and password, and headers, with a text for each header; all of them may be left out"

// parseCredentials reads what a file of credentials says. It is strict, since a
// name with a typing error would leave us without the secret. Errors name the
// file, the line and a key of ours, and nothing else that stands in the file:
// a secret in the wrong place is one all the same.
func parseCredentials(file string, data []byte) (credentials, error) {
	p := credentialsParser{file: file, data: data, dec: json.NewDecoder(bytes.NewReader(data)), c: credentials{header: http.Header{}}}
	if !utf8.Valid(data) {
		return credentials{}, p.refuse("", "the file is not UTF-8 text")
	}
	if err := p.run(); err != nil {
		return credentials{}, err
	}
	return p.c, nil
}

type credentialsParser struct {
	file string
	data []byte
	dec  *json.Decoder
	c    credentials
}

// refuse is the error for what was read last.
func (p *credentialsParser) refuse(key, problem string) error {
	line := 1 + bytes.Count(p.data[:p.dec.InputOffset()], []byte("\n"))
	return &managedconfig.Error{File: p.file, Line: line, Key: key, Problem: problem, Hint: credentialsHint}
}

// run reads the sections.
func (p *credentialsParser) run() error {
	sections := map[string]func(map[string]string) error{"basic": p.basic, "proxy": p.proxy, "headers": p.headers}
	err := p.object("", func(name string) error {
		take, ours := sections[name]
		if !ours {
			return p.refuse("", "a section is none of basic, proxy and headers")
		}
		members, err := p.members(name)
		if err != nil {
			return err
		}
		return take(members)
	})
	if err != nil {
		return err
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return p.refuse("", "something follows behind the object")
	}
	return nil
}

// object reads an object that stands under key, and has each name's value read
// by value. It refuses a name that stands twice.
func (p *credentialsParser) object(key string, value func(name string) error) error {
	if tok, err := p.dec.Token(); err != nil || tok != json.Delim('{') {
		return p.refuse(key, "it is no JSON object")
	}
	seen := map[string]bool{}
	for p.dec.More() {
		tok, err := p.dec.Token()
		name, isText := tok.(string)
		if err != nil || !isText {
			return p.refuse(key, "it is not valid JSON")
		}
		if seen[name] {
			return p.refuse(key, "a name stands twice")
		}
		seen[name] = true
		if err := value(name); err != nil {
			return err
		}
	}
	if _, err := p.dec.Token(); err != nil {
		return p.refuse(key, "it is not valid JSON")
	}
	return nil
}

// members reads an object of texts.
func (p *credentialsParser) members(section string) (map[string]string, error) {
	all := map[string]string{}
	err := p.object(section, func(name string) error {
		tok, err := p.dec.Token()
		text, isText := tok.(string)
		if err != nil || !isText {
			return p.refuse(section, "a value is no text")
		}
		all[name] = text
		return nil
	})
	return all, err
}

// basic takes name and password for the mirror.
func (p *credentialsParser) basic(members map[string]string) error {
	username, password, err := p.pair("basic", members)
	if err != nil {
		return err
	}
	return p.addHeader("basic", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(username+":"+password)))
}

// proxy takes name and password for the proxy.
func (p *credentialsParser) proxy(members map[string]string) error {
	username, password, err := p.pair("proxy", members)
	p.c.proxy = url.UserPassword(username, password)
	return err
}

// pair takes exactly a name and a password.
func (p *credentialsParser) pair(section string, members map[string]string) (username, password string, err error) {
	username, hasName := members["username"]
	password, hasPassword := members["password"]
	switch {
	case !hasName || !hasPassword || len(members) != 2:
		return "", "", p.refuse(section, "it must have username and password, and nothing else")
	case username == "" || strings.Contains(username, ":") || strings.ContainsFunc(username, unicode.IsControl):
		return "", "", p.refuse(section+".username", "allowed is a text without colons and control characters, and not an empty one")
	case strings.ContainsFunc(password, unicode.IsControl):
		return "", "", p.refuse(section+".password", "allowed is a text without control characters")
	}
	return username, password, nil
}

// headers takes extra headers for the mirror.
func (p *credentialsParser) headers(members map[string]string) error {
	if len(members) > maxHeaders {
		return p.refuse("headers", "there are more than 16")
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := members[name]
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return p.refuse("headers", "a name or a value is none that HTTP permits in a header")
		}
		if reserved(name) {
			return p.refuse("headers", "a header is one that the agent or HTTP itself sets")
		}
		if err := p.addHeader("headers", name, value); err != nil {
			return err
		}
	}
	return nil
}

// addHeader adds a header that is not there yet.
func (p *credentialsParser) addHeader(section, name, value string) error {
	name = http.CanonicalHeaderKey(name)
	if p.c.header.Get(name) != "" {
		return p.refuse(section, "it sets a header that is set already, perhaps Authorization by basic")
	}
	p.c.header[name] = []string{value}
	return nil
}

// reserved tells whether a header decides what an answer means, or how the
// connection is used, so that setting it would break the protocol.
func reserved(name string) bool {
	switch name = http.CanonicalHeaderKey(name); name {
	case "Host", "Range", "Accept-Encoding", "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect":
		return true
	}
	return strings.HasPrefix(name, "If-") || strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, "Content-")
}
