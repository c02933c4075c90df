package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// putSecrets writes the secrets that belong into files, before anything of the
// workspace that may want them starts. One that cannot be written is said in the
// log, and costs nothing else. The file of a secret that is taken out of the
// manifest stays: it may be somebody else's by then.
func (a *agent) putSecrets(secrets []*agentv2.WorkspaceSecret) {
	for _, secret := range secrets {
		if secret.GetFilePath() == "" {
			continue
		}
		path := expandPath(secret.GetFilePath())
		if err := putSecret(path, secret.GetValue()); err != nil {
			a.log.Warn("secret not written", slog.String("path", path), slog.String("error", err.Error()))
		}
	}
}

// putSecret gives a file its content, which only its owner can read, in one step:
// whoever reads it finds the old one or the new one. One that has it already is
// left alone.
func putSecret(path string, value []byte) error {
	if holds(path, value) {
		return nil
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory of secret: %w", err)
	}
	fresh, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write secret: %w", err)
	}
	defer os.Remove(fresh.Name())
	_, err = fresh.Write(value)
	if err := errors.Join(err, fresh.Close()); err != nil {
		return fmt.Errorf("write secret: %w", err)
	}
	if err := os.Rename(fresh.Name(), path); err != nil {
		return fmt.Errorf("write secret: %w", err)
	}
	return nil
}

// holds says whether a file is private and has the content. What is no file, such
// as a pipe that nobody writes to, is not opened.
func holds(path string, value []byte) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(value)) || !private(info) {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, int64(len(value))+1))
	return err == nil && bytes.Equal(content, value)
}

// expandPath is a path of the manifest with variables and ~ expanded, in the home
// directory when it is relative.
func expandPath(path string) string {
	path = os.ExpandEnv(path)
	home, err := os.UserHomeDir()
	if err != nil {
		home = string(filepath.Separator)
	}
	if path == "~" || strings.HasPrefix(path, "~/") {
		path = path[1:]
	} else if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(home, path)
}
