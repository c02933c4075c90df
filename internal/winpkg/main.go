// Command winpkg does for packaging/windows/build.sh what neither a shell nor
// the tools of msitools do.
//
//	winpkg number NUMBER          a package's number as Windows Installer compares it
//	winpkg uuid NAME              the identifier that always goes with that name
//	winpkg overlay ROWS           a table on standard input, with the rows of a file added or put in place of others
//	winpkg versions DIR           the table File on standard input, with the versions that programs in a directory have
//	winpkg wintun ARCH LIBRARY    checks that this is the driver's library that the daemon will load
//	winpkg zip OUT DIR            an archive that is the same each time; SOURCE_DATE_EPOCH is its time
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/uuid"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "winpkg:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: winpkg number NUMBER | uuid NAME | overlay ROWS | versions DIR | wintun ARCH LIBRARY | zip OUT DIR")

func run(args []string, in io.Reader, out io.Writer) error {
	switch words := strings.Join(args[:min(len(args), 1)], ""); {
	case words == "number" && len(args) == 2:
		version, err := number(args[1])
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, version)
		return err
	case words == "uuid" && len(args) == 2:
		_, err := fmt.Fprintln(out, identifier(args[1]))
		return err
	case (words == "overlay" || words == "versions") && len(args) == 2:
		return changeTable(words, args[1], in, out)
	case words == "wintun" && len(args) == 3:
		return checkLibrary(args[1], args[2])
	case words == "zip" && len(args) == 3:
		return archive(args[1], args[2])
	}
	return errUsage
}

// changeTable reads, changes and writes a table.
func changeTable(how, path string, in io.Reader, out io.Writer) error {
	table, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read table: %w", err)
	}
	var changed string
	if how == "versions" {
		changed, err = versions(string(table), path)
	} else {
		var rows []byte
		if rows, err = os.ReadFile(path); err != nil {
			return err
		}
		changed, err = overlay(string(table), string(rows))
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w", how, path, err)
	}
	_, err = io.WriteString(out, changed)
	return err
}

// identifier is of version 5: made of the name alone. It is printed as Windows
// Installer wants it.
func identifier(name string) string {
	return "{" + strings.ToUpper(uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/causewayhq/causeway/msi/"+name)).String()) + "}"
}
