//go:build unix && !darwin

package browser

const systemOpener = "xdg-open"

// desktop is where programs find a screen.
func (o Opener) desktop() bool { return o.getenv("DISPLAY") != "" || o.getenv("WAYLAND_DISPLAY") != "" }
