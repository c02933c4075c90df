// Package gendocs writes what is generated of a program's command tree: man
// pages, shell completions, and the settings files that packages install. A
// program writes its own when it is built with the tag "docs" (cmd/*/docs.go),
// so that none of the generators is in what is shipped.
package gendocs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/causewayhq/causeway/internal/version"
)

// File is a settings file beside man pages and completions.
type File struct {
	Name, Text string
}

// Main writes the documentation of a program into the directory that its first
// argument names, and ends the process. The section is that of the man pages.
func Main(root *cobra.Command, section string, files ...File) {
	if len(os.Args) != 2 {
		fmt.Fprintf(os.Stderr, "%s: built with the tag docs: the only argument is the directory to write to\n", root.Name())
		os.Exit(2)
	}
	if err := Write(root, section, os.Args[1], files...); err != nil {
		fmt.Fprintf(os.Stderr, "write documentation of %s: %v\n", root.Name(), err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Write writes man/man<section>/*, completions/{bash,zsh,fish}/* and the files.
func Write(root *cobra.Command, section, dir string, files ...File) error {
	when, err := date()
	if err != nil {
		return err
	}
	man := filepath.Join(dir, "man", "man"+section)
	paths := map[string]string{}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		paths[shell] = filepath.Join(dir, "completions", shell)
	}
	for _, path := range []string{man, paths["bash"], paths["zsh"], paths["fish"]} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	root.DisableAutoGenTag = true // it holds the day of the build
	name := root.Name()
	if err := root.GenBashCompletionFileV2(filepath.Join(paths["bash"], name), true); err != nil {
		return fmt.Errorf("write bash completion: %w", err)
	}
	if err := root.GenZshCompletionFile(filepath.Join(paths["zsh"], "_"+name)); err != nil {
		return fmt.Errorf("write zsh completion: %w", err)
	}
	if err := root.GenFishCompletionFile(filepath.Join(paths["fish"], name+".fish"), true); err != nil {
		return fmt.Errorf("write fish completion: %w", err)
	}
	for _, file := range files {
		path := filepath.Join(dir, file.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(file.Text), 0o644)); err != nil {
			return err
		}
	}
	// Last: it changes the texts.
	root.InitDefaultVersionFlag()
	forMan(root)
	header := &doc.GenManHeader{Section: section, Date: &when, Source: source(), Manual: "Causeway"}
	options := doc.GenManTreeOptions{Header: header, Path: man, CommandSeparator: "-"}
	if err := doc.GenManTreeFromOpts(root, options); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	return nil
}

func source() string { return "Causeway " + version.Version }

// SettingsFiles are causewayd's settings file as it is installed, and its page.
func SettingsFiles() []File {
	when, err := date()
	if err != nil {
		when = time.Now().UTC() // Write says it
	}
	return []File{{"causeway.yaml", Settings()}, {filepath.Join("man", "man5", "causeway.yaml.5"), SettingsPage(when, source())}}
}

// date is SOURCE_DATE_EPOCH, so that two builds of one commit agree; without
// it, today.
func date() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
