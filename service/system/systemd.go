package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/causewayhq/causeway/packaging/linux"
	"github.com/causewayhq/causeway/service"
)

const unitName = Name + ".service"

// Where units are: a package's, in order, and the administrator's, which hide them.
var (
	packageUnits = []string{"/usr/lib/systemd/system", "/lib/systemd/system"}
	adminUnits   = "/etc/systemd/system"
)

// registration adds a definition to the service manager and takes it out again;
// [github.com/kardianos/service.Service] is one.
type registration interface {
	Install() error
	Uninstall() error
}

// systemd is the service manager of most Linux systems.
type systemd struct {
	root      string // before every path of a file; "" but in tests
	program   string
	systemctl string
	run       Run
	// register registers our unit, once its text is known.
	register func(text string) (registration, error)
	// trusted refuses a program that others than root could replace, and gives
	// its path without links.
	trusted func(path string) (string, error)
}

func (d *systemd) own(name string) string { return filepath.Join(d.root, adminUnits, name) }

// packaged says whether a package has brought the unit.
func (d *systemd) packaged() (string, bool) {
	for _, dir := range packageUnits {
		path := filepath.Join(d.root, dir, unitName)
		if _, err := os.Stat(path); err == nil {
			return path, true
		}
	}
	return "", false
}

// ours says whether the file is one that install wrote.
func ours(path string) (there, ours bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	return err == nil, err == nil && strings.HasPrefix(string(text), linux.Mark), err
}

func (d *systemd) install(ctx context.Context, s *steps) error {
	path, packaged := d.packaged()
	if packaged {
		// Our own unit of before the package would hide the package's for ever.
		removed, err := d.removeOwn(s)
		if err != nil {
			return err
		}
		if removed {
			if err := s.call(ctx, d.systemctl, "daemon-reload"); err != nil {
				return err
			}
		}
		s.note("the unit is the package's: %s", path)
		return d.enable(ctx, s)
	}
	if err := d.mayReplace(); err != nil {
		return err
	}
	units, err := d.units(s)
	if err != nil {
		return err
	}
	return d.writeUnits(ctx, s, units)
}

// mayReplace refuses where an administrator wrote a unit of their own.
func (d *systemd) mayReplace() error {
	there, mine, err := ours(d.own(unitName))
	if err != nil || !there || mine {
		return err
	}
	return &service.Error{
		Failure: service.FailureService, Remedy: "move it away, or keep it and change it with: systemctl edit causewayd",
		Err: fmt.Errorf("install service: %s is there and was not written by causewayd", d.own(unitName)),
	}
}

// units are the units for the program where it lies. They have root run the
// command beside it too.
func (d *systemd) units(s *steps) (map[string]string, error) {
	program, err := d.trusted(d.program)
	if err != nil {
		return nil, err
	}
	cli := filepath.Join(filepath.Dir(program), "causeway")
	if _, err := os.Stat(filepath.Join(d.root, cli)); err != nil {
		s.note("no %s: causeway-online.target, which waits with it, is left out", cli)
		return linux.Units(program, "")
	}
	if cli, err = d.trusted(cli); err != nil {
		return nil, err
	}
	return linux.Units(program, cli)
}

// writeUnits has those units loaded, and the daemon's started with the machine.
func (d *systemd) writeUnits(ctx context.Context, s *steps, units map[string]string) error {
	changed := false
	for _, name := range slices.Sorted(maps.Keys(units)) {
		if name == unitName {
			continue
		}
		wrote, err := s.write(d.own(name), []byte(units[name]))
		if err != nil {
			return err
		}
		changed = changed || wrote
	}
	there, err := os.ReadFile(d.own(unitName))
	if err == nil && string(there) == units[unitName] {
		if changed {
			if err := s.call(ctx, d.systemctl, "daemon-reload"); err != nil {
				return err
			}
		}
		return d.enable(ctx, s)
	}
	if _, err := s.remove(d.own(unitName)); err != nil {
		return err
	}
	registered, err := d.register(units[unitName])
	if err != nil {
		return err
	}
	return s.do("write "+d.own(unitName)+", run "+d.systemctl+" enable "+unitName+" and daemon-reload", within(ctx, registered.Install))
}

// enable has the unit started with the machine.
func (d *systemd) enable(ctx context.Context, s *steps) error {
	switch state := d.enabled(ctx); state {
	case "enabled":
		return nil
	case "masked", "masked-runtime":
		return &service.Error{Failure: service.FailureService, Remedy: "run: sudo systemctl unmask causewayd", Err: errors.New("install service: somebody has masked the unit causewayd")}
	default:
		return s.call(ctx, d.systemctl, "enable", unitName)
	}
}

// enabled is the word of systemctl is-enabled, which comes with exit code 1 for
// most of them.
func (d *systemd) enabled(ctx context.Context) string {
	output, err := d.run(ctx, d.systemctl, "is-enabled", unitName)
	if err != nil && !refusedWith(err, 1, 4) {
		return ""
	}
	return strings.TrimSpace(output)
}

func (d *systemd) remove(ctx context.Context, s *steps) error {
	if _, packaged := d.packaged(); packaged {
		if d.enabled(ctx) == "enabled" {
			if err := s.call(ctx, d.systemctl, "disable", unitName); err != nil {
				return err
			}
		}
		s.note("the unit is the package's, which takes it away: apt remove causeway, or dnf remove causeway")
	}
	there, mine, err := ours(d.own(unitName))
	if err != nil {
		return err
	}
	if there && mine {
		registered, err := d.register("")
		if err != nil {
			return err
		}
		what := "run " + d.systemctl + " disable " + unitName + " and remove " + d.own(unitName)
		if err := s.do(what, within(ctx, registered.Uninstall)); err != nil {
			return err
		}
	}
	removed, err := d.removeOwn(s)
	if err != nil || !removed {
		return err
	}
	return s.call(ctx, d.systemctl, "daemon-reload")
}

// removeOwn removes every unit that install wrote.
func (d *systemd) removeOwn(s *steps) (bool, error) {
	removed := false
	for _, name := range linux.Names() {
		there, mine, err := ours(d.own(name))
		if err != nil {
			return removed, err
		}
		if !there || !mine {
			continue
		}
		if _, err := s.remove(d.own(name)); err != nil {
			return removed, err
		}
		removed = true
	}
	return removed, nil
}

// systemctl waits for its job, and systemd bounds each of them.
func (d *systemd) start(ctx context.Context, s *steps) error {
	return s.call(ctx, d.systemctl, "start", unitName)
}

func (d *systemd) stop(ctx context.Context, s *steps) error {
	return s.call(ctx, d.systemctl, "stop", unitName)
}

func (d *systemd) restart(ctx context.Context, s *steps) error {
	return s.call(ctx, d.systemctl, "restart", unitName)
}

// properties are what status asks for.
const properties = "LoadState,ActiveState,SubState,Result,MainPID,ExecMainCode,ExecMainStatus,UnitFileState,FragmentPath"

func (d *systemd) status(ctx context.Context) (Status, error) {
	output, err := d.run(ctx, d.systemctl, "show", unitName, "--property="+properties)
	if err != nil {
		return Status{}, err
	}
	return readUnit(output), nil
}

// readUnit reads lines of KEY=VALUE.
func readUnit(output string) Status {
	unit := map[string]string{}
	for line := range strings.Lines(output) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		unit[key] = value
	}
	pid, _ := strconv.Atoi(unit["MainPID"])         //nolint:errcheck // systemd prints a number
	code, _ := strconv.Atoi(unit["ExecMainStatus"]) //nolint:errcheck // the same
	now := Status{
		Manager: "systemd", PID: pid, Definition: unit["FragmentPath"],
		AtBoot: unit["UnitFileState"] == "enabled", State: unitState(unit["ActiveState"], unit["SubState"]),
	}
	switch unit["LoadState"] {
	case "not-found":
		now.State = NotInstalled
	case "loaded":
	default:
		now.Detail = "the unit is " + unit["LoadState"]
	}
	if now.State == Failed {
		if unit["ExecMainCode"] == "1" { // CLD_EXITED
			now.ExitCode = code
		}
		now.Detail = "systemd says " + unit["Result"]
	}
	return now
}

func unitState(active, sub string) State {
	switch {
	case active == "active" || active == "reloading":
		return Running
	case active == "deactivating":
		return Stopping
	case active == "failed" || sub == "auto-restart":
		return Failed
	case active == "activating":
		return Starting
	}
	return Stopped
}
