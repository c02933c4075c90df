package traytest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

const (
	itemInterface = "org.kde.StatusNotifierItem"
	menuInterface = "com.canonical.dbusmenu"
)

// Line is one line of the menu as a host sees it.
type Line struct {
	ID        int32
	Label     string // as sent, with its marks of access keys
	Separator bool
	Visible   bool
	Enabled   bool
	Checkable bool
	Checked   bool
	Icon      []byte
	Lines     []Line
}

// Icon is the item of the tray as a host sees it.
type Icon struct {
	conn *dbus.Conn
	name string
}

// NewIcon is the item of a bus name.
func NewIcon(t *testing.T, address, name string) *Icon {
	t.Helper()
	return &Icon{Connect(t, address), name}
}

func (i *Icon) property(name string, value any) error {
	return i.conn.Object(i.name, "/StatusNotifierItem").StoreProperty(itemInterface+"."+name, value)
}

// Picture is the icon's ARGB picture.
func (i *Icon) Picture() ([]byte, error) {
	var pictures []struct {
		Width, Height int32
		Pixels        []byte
	}
	if err := i.property("IconPixmap", &pictures); err != nil {
		return nil, err
	}
	if len(pictures) != 1 || int(pictures[0].Width*pictures[0].Height*4) != len(pictures[0].Pixels) {
		return nil, fmt.Errorf("%d pictures", len(pictures))
	}
	return pictures[0].Pixels, nil
}

// Tooltip is its title.
func (i *Icon) Tooltip() (string, error) {
	var tip struct {
		Icon     string
		Pictures []struct {
			Width, Height int32
			Pixels        []byte
		}
		Title, Text string
	}
	err := i.property("ToolTip", &tip)
	return tip.Title, err
}

// Menu reads the whole menu.
func (i *Icon) Menu() ([]Line, error) {
	var path dbus.ObjectPath
	if err := i.property("Menu", &path); err != nil {
		return nil, err
	}
	var revision uint32
	var layout struct {
		ID         int32
		Properties map[string]dbus.Variant
		Lines      []dbus.Variant
	}
	err := i.conn.Object(i.name, path).Call(menuInterface+".GetLayout", 0, int32(0), int32(-1), []string{}).Store(&revision, &layout)
	if err != nil {
		return nil, fmt.Errorf("GetLayout: %w", err)
	}
	return linesOf(layout.Lines), nil
}

func linesOf(variants []dbus.Variant) []Line {
	var lines []Line
	for _, variant := range variants {
		parts, ok := variant.Value().([]any)
		if !ok || len(parts) != 3 {
			continue
		}
		id, _ := parts[0].(int32)
		properties, _ := parts[1].(map[string]dbus.Variant)
		below, _ := parts[2].([]dbus.Variant)
		line := Line{ID: id, Visible: true, Enabled: true, Lines: linesOf(below)}
		line.read(properties)
		lines = append(lines, line)
	}
	return lines
}

func (l *Line) read(properties map[string]dbus.Variant) {
	for name, property := range properties {
		switch value := property.Value().(type) {
		case string:
			switch name {
			case "label":
				l.Label = value
			case "type":
				l.Separator = value == "separator"
			case "toggle-type":
				l.Checkable = value != ""
			}
		case bool:
			switch name {
			case "visible":
				l.Visible = value
			case "enabled":
				l.Enabled = value
			}
		case int32:
			if name == "toggle-state" {
				l.Checked = value == 1
			}
		case []byte:
			l.Icon = value
		}
	}
}

// Find is the first visible line whose label starts like this, at any depth below
// visible lines; further labels lead to the lines below it.
func Find(lines []Line, path ...string) (Line, bool) {
	for _, line := range lines {
		if !line.Visible {
			continue
		}
		if strings.HasPrefix(line.Label, path[0]) {
			if len(path) == 1 {
				return line, true
			}
			if found, ok := Find(line.Lines, path[1:]...); ok {
				return found, true
			}
		}
	}
	return Line{}, false
}

// Labels are the labels of all visible lines, those below indented.
func Labels(lines []Line) string {
	var out strings.Builder
	for _, line := range lines {
		if line.Visible && !line.Separator {
			fmt.Fprintln(&out, line.Label)
			for below := range strings.Lines(Labels(line.Lines)) {
				out.WriteString("  " + below)
			}
		}
	}
	return out.String()
}

// Want waits for a visible line.
func (i *Icon) Want(t *testing.T, path ...string) Line {
	t.Helper()
	var found Line
	Eventually(t, fmt.Sprintf("the line %q", path), func() error {
		lines, err := i.Menu()
		if err != nil {
			return err
		}
		var ok bool
		if found, ok = Find(lines, path...); !ok {
			return errors.New("the menu is\n" + Labels(lines))
		}
		return nil
	})
	return found
}

// Click clicks a line as hosts do.
func (i *Icon) Click(t *testing.T, path ...string) {
	t.Helper()
	line := i.Want(t, path...)
	if !line.Enabled {
		t.Fatalf("the line %q is not to be clicked", path)
	}
	var menu dbus.ObjectPath
	if err := i.property("Menu", &menu); err != nil {
		t.Fatal(err)
	}
	if err := i.conn.Object(i.name, menu).Call(menuInterface+".Event", 0, line.ID, "clicked", dbus.MakeVariant(int32(0)), uint32(0)).Err; err != nil {
		t.Fatalf("click %q: %v", path, err)
	}
}

// Build builds a command of the module into a directory.
func Build(dir, name string) (string, error) {
	if bin := os.Getenv("CAUSEWAY_BIN"); bin != "" {
		if path := filepath.Join(bin, name); fileExists(path) {
			return path, nil
		}
	}
	path := filepath.Join(dir, name)
	command := exec.Command("go", "build", "-o", path, "github.com/causewayhq/causeway/cmd/"+name)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", name, err, output)
	}
	return path, nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
