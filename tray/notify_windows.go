package tray

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	findWindow      = user32.NewProc("FindWindowExW")
	windowProcess   = user32.NewProc("GetWindowThreadProcessId")
	shellNotifyIcon = windows.NewLazySystemDLL("shell32.dll").NewProc("Shell_NotifyIconW")
)

// What fyne.io/systray v1.12.2 calls its window and its icon. It shows no
// notifications itself, but its icon can carry them.
const (
	libraryWindow = "SystrayClass"
	libraryIcon   = 100
)

const (
	modify      = 1    // NIM_MODIFY
	withInfo    = 0x10 // NIF_INFO
	infoIcon    = 1    // NIIF_INFO
	warningIcon = 2    // NIIF_WARNING
)

// balloon is NOTIFYICONDATAW.
type balloon struct {
	size            uint32
	window          windows.Handle
	id              uint32
	flags           uint32
	callbackMessage uint32
	icon            windows.Handle
	tip             [128]uint16
	state           uint32
	stateMask       uint32
	info            [256]uint16
	version         uint32
	infoTitle       [64]uint16
	infoFlags       uint32
	item            windows.GUID
	balloonIcon     windows.Handle
}

// notify shows a balloon at the icon; Windows 10 and later make a toast of it. A
// new one takes the place of the one before.
func (s *surroundings) notify(_ context.Context, _ string, n note) error {
	window, err := ownWindow()
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	data := balloon{window: window, id: libraryIcon, flags: withInfo, infoFlags: infoIcon}
	data.size = uint32(unsafe.Sizeof(data))
	if n.urgent {
		data.infoFlags = warningIcon
	}
	fill(data.infoTitle[:], n.title)
	fill(data.info[:], n.text)
	if ok, _, err := shellNotifyIcon.Call(modify, uintptr(unsafe.Pointer(&data))); ok == 0 {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// fill writes as much of the text as fits, and ends it.
func fill(target []uint16, text string) {
	units, err := windows.UTF16FromString(text)
	if err != nil {
		return
	}
	copy(target[:len(target)-1], units)
}

// ownWindow is the library's window of this process.
func ownWindow() (windows.Handle, error) {
	class := windows.StringToUTF16Ptr(libraryWindow)
	for after := uintptr(0); ; {
		window, _, _ := findWindow.Call(0, after, uintptr(unsafe.Pointer(class)), 0)
		if window == 0 {
			return 0, errors.New("the window of the icon is not there")
		}
		var process uint32
		windowProcess.Call(window, uintptr(unsafe.Pointer(&process)))
		if process == windows.GetCurrentProcessId() {
			return windows.Handle(window), nil
		}
		after = window
	}
}
