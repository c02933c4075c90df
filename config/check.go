package config

import (
	"errors"
	"fmt"
	"net/url"
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
	case OptionalPath:
		if text == "" {
			return nil
		}
		return checkPath(text)
	case Proxy:
		return checkProxy(text)
	case Command:
		return checkCommand(text)
	}
	return fmt.Errorf("setting %s has no kind", s.Name)
}

// checkProxy does not quote the text: it may hold a password.
func checkProxy(text string) error {
	if text == "" {
		return nil
	}
	proxy, err := url.Parse(text)
	if err != nil || proxy.Scheme != "http" && proxy.Scheme != "https" || proxy.Hostname() == "" ||
		strings.Trim(proxy.Path, "/") != "" || proxy.RawQuery != "" || proxy.Fragment != "" {
		return errors.New("it is not the address of a proxy, which is like http://host:port")
	}
	return nil
}

func checkCommand(text string) error {
	if text == "" {
		return nil
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("the command holds a control character")
	}
	return checkPath(strings.Fields(text + " ")[0])
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
