package tray

import (
	"strings"

	"fyne.io/systray"

	"github.com/causewayhq/causeway/packaging/icons"
)

// prepare tells what hosts ask first, before they can: the library would lose a
// picture that is set while it registers.
func (m *menu) prepare(first model) {
	systray.SetTitle("Causeway")
	systray.SetTooltip(first.tooltip)
	m.setIcon(first.icon)
}

// iconFile is the larger picture: hosts scale down well and up badly.
func iconFile(i icon, theme string) []byte { return icons.File(string(i) + "-" + theme + "-44.png") }

func markFile(m mark) []byte { return icons.File(string(m) + ".png") }

// mnemonic keeps underscores from being taken for marks of access keys.
func mnemonic(label string) string { return strings.ReplaceAll(label, "_", "__") }
