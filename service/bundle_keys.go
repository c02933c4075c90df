package service

import (
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	// maxKeyFile is how large a file with keys may be; the tunnel's state with
	// 10,000 agents is about 5 MB.
	maxKeyFile = 16 << 20
	// maxKeys bounds what is looked for: there is one identity for each profile.
	maxKeys = 512
)

// keysIn are the keys and other secrets in the files of the state directory, so
// that they are found wherever they might have got.
func keysIn(dir string) []string {
	var found []string
	// What cannot be read is not in the bundle either.
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || len(found) > maxKeys {
			return nil
		}
		data, err := readPrivate(path, maxKeyFile)
		if err != nil || len(data) > maxKeyFile {
			return nil
		}
		var value any
		if json.Unmarshal(data, &value) == nil {
			found = keysOf(value, "", found)
		} else {
			found = append(found, barePattern.FindAllString(string(data), maxKeys)...)
		}
		return nil
	})
	for _, key := range found {
		if raw, err := hex.DecodeString(strings.TrimPrefix(key, "privkey:")); err == nil {
			found = append(found, string(raw)) // and so in base64
		}
	}
	return found
}

var (
	// keyNames are what keys and secrets are called in our files.
	keyNames = regexp.MustCompile(`(?i)(disco|priv|private|private_?key|key|secret|token|password)$`)
	// barePattern are 32 bytes in base64 or hexadecimal.
	barePattern = regexp.MustCompile(`[A-Za-z0-9+/]{43}=|[0-9a-fA-F]{64}`)
)

func keysOf(value any, name string, found []string) []string {
	switch value := value.(type) {
	case string:
		if rest, private := strings.CutPrefix(value, "privkey:"); private {
			found = append(found, rest)
		} else if len(value) >= 16 && keyNames.MatchString(name) && len(found) < maxKeys {
			found = append(found, value)
		}
	case []any:
		for _, item := range value {
			found = keysOf(item, name, found)
		}
	case map[string]any:
		for key, item := range value {
			found = keysOf(item, key, found)
		}
	}
	return found
}

// passwordIn is the password of a URL; "" for none.
func passwordIn(address *url.URL) string {
	if address == nil {
		return ""
	}
	password, _ := address.User.Password()
	return password
}
