package main

import (
	"archive/zip"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/causewayhq/causeway/tun"
)

// checkLibrary refuses what the daemon would refuse on the machine.
func checkLibrary(arch, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	if got, want := hex.EncodeToString(sum[:]), tun.WintunSum(arch); got != want {
		return fmt.Errorf("%s: its SHA-256 sum is %s; the daemon on %s loads only %s (Wintun 0.14.1)", path, got, arch, want)
	}
	return nil
}

// archive packs a directory, under its own name. All that is in it is a program
// or may be read by everybody.
func archive(out, dir string) (err error) {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	packed := zip.NewWriter(file)
	packed.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	walk := func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(filepath.Dir(dir), path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		into, err := packed.CreateHeader(&zip.FileHeader{Name: filepath.ToSlash(name), Method: zip.Deflate, Modified: time.Unix(seconds, 0).UTC()})
		if err != nil {
			return err
		}
		_, err = into.Write(content)
		return err
	}
	if err := filepath.WalkDir(dir, walk); err != nil { // in the order of names
		return err
	}
	return packed.Close()
}
