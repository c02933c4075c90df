// Command licenses writes the licences of all that is linked into programs, as
// their packages carry them. It goes by the very text of each licence: one that
// is not on the list (allowed.txt) is an error, to be read by a person first.
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	output := flag.String("o", "", "write the texts to this file")
	names := flag.String("json", "", "write the SPDX names to this file, by module")
	flag.Parse()
	if err := run(*output, *names, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

func run(output, names string, programs []string) error {
	if output == "" || len(programs) == 0 {
		return errors.New("want: licenses -o FILE [-json FILE] and programs")
	}
	var paths []string
	for _, program := range programs {
		linked, err := linked(program)
		if err != nil {
			return err
		}
		paths = append(paths, linked...)
	}
	modules, err := find(paths)
	if err != nil {
		return err
	}
	if err := check(modules); err != nil {
		return err
	}
	if names != "" {
		if err := writeNames(names, modules); err != nil {
			return err
		}
	}
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	write(file, modules)
	return file.Close()
}

// linked is what a program says it was linked from.
func linked(program string) ([]string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", program, err)
	}
	var paths []string
	for _, module := range info.Deps {
		paths = append(paths, module.Path)
	}
	return paths, nil
}

func writeNames(path string, modules []module) error {
	names := map[string][]string{}
	for _, module := range modules {
		for _, text := range module.Texts {
			if text.Name != notice {
				names[module.Path] = append(names[module.Path], text.Name)
			}
		}
	}
	text, err := json.MarshalIndent(names, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// write prints all texts, each of them once, below the modules that it covers.
func write(to io.Writer, modules []module) {
	fmt.Fprint(to, "Parts of other projects in the programs of this package, and their licences.\n")
	covers, order := map[string][]string{}, []string(nil)
	for _, module := range modules {
		for _, text := range module.Texts {
			if covers[text.Text] == nil {
				order = append(order, text.Text)
			}
			covers[text.Text] = append(covers[text.Text], strings.TrimSpace(module.Path+" "+module.Version)+" ("+text.Name+")")
		}
	}
	line := strings.Repeat("=", 78)
	for _, text := range order {
		fmt.Fprintf(to, "\n%s\n%s\n%s\n\n%s\n", line, strings.Join(covers[text], "\n"), line, strings.TrimSpace(text))
	}
}
