package tray

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/causewayhq/causeway/localapi"
)

// mutexName is held by the one tray of a session; "Local" is the session's
// namespace.
const mutexName = `Local\CausewayTray`

// surroundings are the desktop by way of the Windows API.
type surroundings struct {
	mutex  windows.Handle
	logger *slog.Logger
}

// openDesktop makes this process the one tray of its session.
func openDesktop(_ context.Context, _ func(), o Options) (*surroundings, error) {
	name, err := windows.UTF16PtrFromString(mutexName)
	if err != nil {
		return nil, fmt.Errorf("take the name %s: %w", mutexName, err)
	}
	mutex, err := windows.CreateMutex(nil, false, name)
	if errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		windows.CloseHandle(mutex)
		return nil, ErrRunning
	}
	if err != nil {
		return nil, fmt.Errorf("take the name %s: %w", mutexName, err)
	}
	return &surroundings{mutex: mutex, logger: o.Logger}, nil
}

func (s *surroundings) close() { windows.CloseHandle(s.mutex) }

// watchHost has nothing to watch: the library follows the taskbar by itself.
func (s *surroundings) watchHost(context.Context, func()) {}

// terminal opens a console window. Its command line is written for cmd.exe, which
// takes what stands between the first and the last quote as it is.
func (s *surroundings) terminal(ctx context.Context, argv []string, question string) error {
	words := make([]string, 0, len(argv)+1)
	for _, word := range argv {
		if strings.ContainsAny(word, `"%&|<>^`+"\r\n") {
			return &localapi.Error{Code: localapi.CodeGeneric, Cause: fmt.Sprintf("open a console: %q does not fit into a command line", word)}
		}
		words = append(words, `"`+word+`"`)
	}
	line := strings.Join(words, " ")
	if question != "" {
		line = `set /p answer="` + question + ` " && ` + line + ` "!answer!"`
	}
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		return fmt.Errorf("open a console: %w", err)
	}
	shell := dir + `\cmd.exe`
	command := exec.CommandContext(context.WithoutCancel(ctx), shell)
	command.SysProcAttr = &syscall.SysProcAttr{
		CmdLine:       `"` + shell + `" /v:on /s /k "` + line + `"`,
		CreationFlags: windows.CREATE_NEW_CONSOLE | windows.CREATE_NEW_PROCESS_GROUP,
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("open a console: %w", err)
	}
	return command.Process.Release()
}

func (s *surroundings) browse(_ context.Context, url string) error {
	verb, file := windows.StringToUTF16Ptr("open"), windows.StringToUTF16Ptr(url)
	if err := windows.ShellExecute(0, verb, file, nil, nil, windows.SW_SHOWNORMAL); err != nil {
		return &localapi.Error{Code: localapi.CodeGeneric, Cause: fmt.Sprintf("open the browser: %v", err), Remedy: "open " + url}
	}
	return nil
}

// runKey is where Windows looks for what to start when the user logs in.
const (
	runKey   = `Software\Microsoft\Windows\CurrentVersion\Run`
	runValue = "CausewayTray"
)

func (s *surroundings) autostart() bool {
	key, err := registry.OpenKey(registry.CURRENT_USER, runKey, registry.QUERY_VALUE)
	if err != nil {
		return false
	}
	defer key.Close()
	_, _, err = key.GetStringValue(runValue)
	return err == nil
}

func (s *surroundings) setAutostart(on bool) error { return setAutostartEntry(on) }

func setAutostartEntry(on bool) error {
	key, _, err := registry.CreateKey(registry.CURRENT_USER, runKey, registry.SET_VALUE)
	if err != nil {
		return fmt.Errorf("open %s: %w", runKey, err)
	}
	defer key.Close()
	if !on {
		if err := key.DeleteValue(runValue); err != nil && !errors.Is(err, registry.ErrNotExist) {
			return fmt.Errorf("delete %s of %s: %w", runValue, runKey, err)
		}
		return nil
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if err := key.SetStringValue(runValue, `"`+program+`"`); err != nil {
		return fmt.Errorf("set %s of %s: %w", runValue, runKey, err)
	}
	return nil
}
