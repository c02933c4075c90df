package traytest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// packages are what a desktop needs, on Debian 12.
var packages = []string{
	"xvfb", "dbus", "xfce4-panel", "xfconf", "xfce4-notifyd", "xdotool", "imagemagick", "hicolor-icon-theme", "adwaita-icon-theme",
	"fonts-dejavu-core", "librsvg2-common", "xclip", "xterm",
}

// programs are those of the packages that are called by name.
var programs = []string{"Xvfb", "dbus-daemon", "xfce4-panel", "xdotool", "import", "xclip", "xterm"}

// install installs what is missing; without a way to, the test is skipped.
func install(t *testing.T) {
	t.Helper()
	missing := slices.ContainsFunc(programs, func(name string) bool { _, err := exec.LookPath(name); return err != nil })
	if !missing {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	script := "apt-get update -q && apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
	command := exec.CommandContext(ctx, "sh", "-c", script)
	command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if output, err := command.CombinedOutput(); err != nil {
		t.Skipf("no desktop to test on: %s: %v: %s", script, err, output[max(0, len(output)-500):])
	}
}

// The screen, and the panel at its top.
const (
	screenWidth  = 900
	screenHeight = 640
	panelHeight  = 32
)

// panelConfig is a panel at the top with nothing but the icons at its right end.
const panelConfig = `<?xml version="1.0" encoding="UTF-8"?>
<channel name="xfce4-panel" version="1.0">
  <property name="configver" type="int" value="2"/>
  <property name="panels" type="array">
    <value type="int" value="1"/>
    <property name="dark-mode" type="bool" value="%t"/>
    <property name="panel-1" type="empty">
      <property name="position" type="string" value="p=6;x=0;y=0"/>
      <property name="position-locked" type="bool" value="true"/>
      <property name="length" type="uint" value="100"/>
      <property name="size" type="uint" value="%d"/>
      <property name="icon-size" type="uint" value="22"/>
      <property name="plugin-ids" type="array"><value type="int" value="1"/><value type="int" value="2"/></property>
    </property>
  </property>
  <property name="plugins" type="empty">
    <property name="plugin-1" type="string" value="separator">
      <property name="expand" type="bool" value="true"/>
      <property name="style" type="uint" value="0"/>
    </property>
    <property name="plugin-2" type="string" value="systray">
      <property name="square-icons" type="bool" value="true"/>
    </property>
  </property>
</channel>
`

// Desktop is an Xfce panel on a display and a session bus of its own.
type Desktop struct {
	t       *testing.T
	Address string
	Home    string
	Env     []string
	panel   *Process
}

// StartDesktop starts it; a dark one has a dark panel and dark menus.
func StartDesktop(t *testing.T, dark bool) *Desktop {
	t.Helper()
	install(t)
	home := t.TempDir()
	theme := "Adwaita"
	if dark {
		theme += ":dark"
	}
	d := &Desktop{t: t, Home: home}
	d.Env = []string{
		"HOME=" + home, "XDG_CONFIG_HOME=" + filepath.Join(home, ".config"), "XDG_RUNTIME_DIR=" + home, "XDG_CURRENT_DESKTOP=XFCE", "PATH=" + os.Getenv("PATH"),
		"NO_AT_BRIDGE=1", "GTK_THEME=" + theme, "LANG=C.UTF-8", "DISPLAY=" + startX(t),
	}
	config := filepath.Join(home, ".config/xfce4/xfconf/xfce-perchannel-xml")
	if err := os.MkdirAll(config, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config, "xfce4-panel.xml"), fmt.Appendf(nil, panelConfig, dark, panelHeight), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Address = StartBus(t, d.Env...)
	d.Env = append(d.Env, "DBUS_SESSION_BUS_ADDRESS="+d.Address)
	d.background(dark)
	d.StartPanel()
	return d
}

// startX starts an X server on a display that is free.
func startX(t *testing.T) string {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	command := exec.CommandContext(t.Context(), "Xvfb", "-displayfd", "3", "-screen", "0", fmt.Sprintf("%dx%dx24", screenWidth, screenHeight), "-nolisten", "tcp", "-dpi", "96")
	command.ExtraFiles = []*os.File{write}
	Launch(t, command)
	write.Close()
	number, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		t.Fatalf("read the display of Xvfb: %v", err)
	}
	return ":" + strings.TrimSpace(number)
}

// Run runs a program of the desktop and gives what it prints.
func (d *Desktop) Run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(d.t.Context(), waitLimit)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Env = d.Env
	output, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, output)
	}
	return string(output), err
}

func (d *Desktop) must(name string, args ...string) string {
	d.t.Helper()
	output, err := d.Run(name, args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return output
}

func (d *Desktop) background(dark bool) {
	colours := "gradient:#7da7c7-#35608a"
	if dark {
		colours = "gradient:#2d3a4a-#10161d"
	}
	// It shows the picture, and ends with 1 all the same.
	_, _ = d.Run("display", "-size", fmt.Sprintf("%dx%d", screenWidth, screenHeight), "-window", "root", colours)
}

// StartPanel starts the panel and waits until it takes icons.
func (d *Desktop) StartPanel() {
	d.t.Helper()
	command := exec.CommandContext(d.t.Context(), "xfce4-panel", "--disable-wm-check")
	command.Env = d.Env
	d.panel = Launch(d.t, command)
	conn := Connect(d.t, d.Address)
	Eventually(d.t, "the panel", func() error {
		var owned bool
		err := conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, watcherName).Store(&owned)
		if err == nil && !owned {
			err = fmt.Errorf("nobody has the name %s", watcherName)
		}
		return err
	})
}

// KillPanel ends the panel as a crash does.
func (d *Desktop) KillPanel() { d.panel.Kill() }

// Icon waits for the one icon on the panel.
func (d *Desktop) Icon() *Icon {
	d.t.Helper()
	conn := Connect(d.t, d.Address)
	icon := &Icon{conn: conn}
	Eventually(d.t, "the icon", func() error {
		var items []string
		err := conn.Object(watcherName, watcherPath).StoreProperty(watcherName+".RegisteredStatusNotifierItems", &items)
		if err == nil && len(items) != 1 {
			err = fmt.Errorf("items: %q", items)
		}
		if err == nil {
			icon.name, _, _ = strings.Cut(items[0], "/")
		}
		return err
	})
	return icon
}

// window is a window's place on the screen.
type window struct {
	id                  string
	x, y, width, height int
}

// windows are the visible ones that are larger than the panel is high, but for
// the panel itself: menus and notifications.
func (d *Desktop) windows() ([]window, error) {
	output, err := d.Run("xdotool", "search", "--onlyvisible", "--name", ".*")
	if err != nil {
		return nil, err
	}
	var found []window
	for _, id := range strings.Fields(output) {
		text, err := d.Run("xdotool", "getwindowgeometry", "--shell", id)
		if err != nil {
			continue // it has closed meanwhile
		}
		w := window{id: id}
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			number, _ := strconv.Atoi(value)
			switch name {
			case "X":
				w.x = number
			case "Y":
				w.y = number
			case "WIDTH":
				w.width = number
			case "HEIGHT":
				w.height = number
			}
		}
		if w.height > panelHeight+10 && w.height < screenHeight && w.width < screenWidth {
			found = append(found, w)
		}
	}
	return found, nil
}

// appeared is a window that was not there before.
func (d *Desktop) appeared(before []window) (window, bool) {
	now, err := d.windows()
	if err != nil {
		return window{}, false
	}
	at := slices.IndexFunc(now, func(w window) bool {
		return !slices.ContainsFunc(before, func(old window) bool { return old.id == w.id })
	})
	if at < 0 {
		return window{}, false
	}
	return now[at], true
}

// opened waits for a window that was not there before.
func (d *Desktop) opened(before []window, what string) window {
	d.t.Helper()
	var found window
	Eventually(d.t, what, func() error {
		var there bool
		if found, there = d.appeared(before); !there {
			return errors.New("no new window")
		}
		return nil
	})
	return found
}

// Screenshot writes the screen into a file.
func (d *Desktop) Screenshot(path string) {
	d.t.Helper()
	d.must("import", "-window", "root", path)
}

func (d *Desktop) move(x, y int) {
	d.t.Helper()
	d.must("xdotool", "mousemove", strconv.Itoa(x), strconv.Itoa(y))
}

func (d *Desktop) press(x, y int) { d.t.Helper(); d.move(x, y); d.must("xdotool", "click", "1") }

// OpenMenu opens the icon's menu with the pointer.
func (d *Desktop) OpenMenu() window {
	d.t.Helper()
	before, err := d.windows()
	if err != nil {
		d.t.Fatal(err)
	}
	// A press right after another menu has closed does nothing.
	for range 5 {
		d.press(screenWidth-panelHeight/2, panelHeight/2)
		for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if menu, found := d.appeared(before); found {
				return menu
			}
		}
	}
	d.t.Fatal("no press on the icon opened its menu")
	return window{}
}

// CloseMenu closes all menus.
func (d *Desktop) CloseMenu() {
	d.t.Helper()
	Eventually(d.t, "the end of the menu", func() error {
		d.must("xdotool", "key", "Escape")
		now, err := d.windows()
		if err == nil && len(now) > 0 {
			err = fmt.Errorf("windows: %v", now)
		}
		return err
	})
}

// What a menu of GTK 3's Adwaita has around its lines, and between them.
const (
	menuPadding     = 4
	separatorHeight = 1
)

// rowOf is where on the screen the middle of a line is.
func rowOf(menu window, lines []Line, label string) (x, y int, found bool) {
	texts, separators := 0, 0
	for _, line := range lines {
		switch {
		case !line.Visible:
		case line.Separator:
			separators++
		default:
			texts++
		}
	}
	height := float64(menu.height-2*menuPadding-separatorHeight*separators) / float64(max(texts, 1))
	top := float64(menu.y + menuPadding)
	for _, line := range lines {
		switch {
		case !line.Visible:
		case line.Separator:
			top += separatorHeight
		case strings.HasPrefix(line.Label, label):
			return menu.x + 60, int(top + height/2), true
		default:
			top += height
		}
	}
	return 0, 0, false
}

// Hover opens the menu and moves the pointer to a line, by way of the submenus
// above it. It gives the windows of the menus.
func (d *Desktop) Hover(icon *Icon, path ...string) []window {
	d.t.Helper()
	icon.Want(d.t, path...)
	lines, err := icon.Menu()
	if err != nil {
		d.t.Fatal(err)
	}
	menus := []window{d.OpenMenu()}
	for i, label := range path {
		menu := menus[len(menus)-1]
		x, y, found := rowOf(menu, lines, label)
		if !found {
			d.t.Fatalf("no line %q in\n%s", path, Labels(lines))
		}
		d.move(x, y)
		if i == len(path)-1 {
			return menus
		}
		line, _ := Find(lines, label)
		lines = line.Lines
		menus = append(menus, d.opened(menus, "the menu below "+label))
	}
	return menus
}

// Click clicks a line with the pointer.
func (d *Desktop) Click(icon *Icon, path ...string) {
	d.t.Helper()
	menus := d.Hover(icon, path...)
	d.must("xdotool", "click", "1")
	Eventually(d.t, "the end of the menu", func() error {
		now, err := d.windows()
		if err == nil && slices.ContainsFunc(now, func(w window) bool { return w.id == menus[0].id }) {
			err = fmt.Errorf("windows: %v", now)
		}
		return err
	})
}
