package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// maxInterfaceName is the kernel's IFNAMSIZ less the closing zero.
const maxInterfaceName = 15

// check refuses a text that the setting cannot take.
func (s Setting) check(text string) error {
	switch s.Kind {
	case Path:
		return checkPath(text)
	case InterfaceName:
		return checkInterface(text)
	case Choice:
		if !slices.Contains(s.Choices, text) {
			return fmt.Errorf("%q is none of %s", text, strings.Join(s.Choices, ", "))
		}
		return nil
	}
	return fmt.Errorf("setting %s has no kind", s.Name)
}

func checkPath(text string) error {
	switch {
	case text == "":
		return fmt.Errorf("the path is empty")
	case strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("%q holds a control character", text)
	case !filepath.IsAbs(text):
		return fmt.Errorf("%q is not an absolute path", text)
	}
	return nil
}

func checkInterface(text string) error {
	switch {
	case text == "" || len(text) > maxInterfaceName:
		return fmt.Errorf("%q is not 1 to %d bytes long", text, maxInterfaceName)
	case text == "." || text == "..":
		return fmt.Errorf("%q is no interface name", text)
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f || c == '/' || c == ':' || c == '%' {
			return fmt.Errorf("%q holds a character that interface names cannot have", text)
		}
	}
	return nil
}
