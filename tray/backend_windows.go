package tray

import (
	"strings"

	"github.com/causewayhq/causeway/packaging/icons"
)

// prepare has nothing to do: the library takes nothing before it is ready.
func (m *menu) prepare(model) {}

func iconFile(i icon, theme string) []byte { return icons.File(string(i) + "-" + theme + ".ico") }

func markFile(m mark) []byte { return icons.File(string(m) + ".ico") }

// mnemonic keeps ampersands from being taken for marks of access keys.
func mnemonic(label string) string { return strings.ReplaceAll(label, "&", "&&") }
