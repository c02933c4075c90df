// Command macpkg builds the installer package of macOS on any system: the
// payload as cpio, its bill of materials, and the xar archive around both; and
// it joins two Mach-O programs to one for both kinds of Mac.
//
// What it writes is read again by bsdtar, cpio and a reader of our own in the
// tests. No Mac has seen it yet: docs/known-issues.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "macpkg: %v\n", err)
		os.Exit(1)
	}
}

const usage = `usage:
  macpkg fat -o OUT PROGRAM-AMD64 PROGRAM-ARM64
  macpkg pkg -id ID -version V -title TITLE -root DIR -scripts DIR -o OUT.pkg
Times are those of SOURCE_DATE_EPOCH, in seconds since 1970.`

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("read command line: no command\n%s", usage)
	}
	switch args[0] {
	case "fat":
		return runFat(args[1:])
	case "pkg":
		return runPackage(args[1:])
	}
	return fmt.Errorf("read command line: unknown command %q\n%s", args[0], usage)
}

func runFat(args []string) error {
	flags := flag.NewFlagSet("fat", flag.ContinueOnError)
	out := flags.String("o", "", "file to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || flags.NArg() == 0 {
		return fmt.Errorf("read command line: fat needs -o and programs\n%s", usage)
	}
	var programs [][]byte
	for _, path := range flags.Args() {
		program, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read program: %w", err)
		}
		programs = append(programs, program)
	}
	joined, err := fat(programs)
	if err != nil {
		return fmt.Errorf("join programs: %w", err)
	}
	return write(*out, joined, 0o755)
}

func runPackage(args []string) error {
	flags := flag.NewFlagSet("pkg", flag.ContinueOnError)
	var product product
	flags.StringVar(&product.ID, "id", "", "identifier of the package")
	flags.StringVar(&product.Version, "version", "", "version of the package")
	flags.StringVar(&product.Title, "title", "", "what the installer calls it")
	root := flags.String("root", "", "directory with the files to install")
	scripts := flags.String("scripts", "", "directory with preinstall and postinstall")
	out := flags.String("o", "", "file to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	at, err := sourceDate(os.LookupEnv)
	if err != nil {
		return err
	}
	product.At = at
	if product.Payload, err = readTree(*root); err != nil {
		return err
	}
	if product.Scripts, err = readTree(*scripts); err != nil {
		return err
	}
	data, err := product.build()
	if err != nil {
		return fmt.Errorf("build %s: %w", *out, err)
	}
	return write(*out, data, 0o644)
}

// sourceDate is the one time that stands in the package.
func sourceDate(lookup func(string) (string, bool)) (time.Time, error) {
	text, set := lookup("SOURCE_DATE_EPOCH")
	seconds, err := strconv.ParseInt(text, 10, 64)
	if !set || err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH: %q is no number of seconds", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// write replaces the file whole.
func write(path string, data []byte, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".macpkg-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(data)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Chmod(file.Name(), mode)
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
