package tray

import (
	"context"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	user32           = windows.NewLazySystemDLL("user32.dll")
	openClipboard    = user32.NewProc("OpenClipboard")
	emptyClipboard   = user32.NewProc("EmptyClipboard")
	setClipboardData = user32.NewProc("SetClipboardData")
	closeClipboard   = user32.NewProc("CloseClipboard")

	kernel32     = windows.NewLazySystemDLL("kernel32.dll")
	globalAlloc  = kernel32.NewProc("GlobalAlloc")
	globalFree   = kernel32.NewProc("GlobalFree")
	globalLock   = kernel32.NewProc("GlobalLock")
	globalUnlock = kernel32.NewProc("GlobalUnlock")
	moveMemory   = kernel32.NewProc("RtlMoveMemory")
)

const (
	formatUnicodeText = 13 // CF_UNICODETEXT
	moveable          = 2  // GMEM_MOVEABLE, which SetClipboardData asks for
	clipboardTries    = 10
	clipboardPause    = 50 * time.Millisecond
)

// copy puts the text on the clipboard. Another program may hold it for a moment.
func (s *surroundings) copy(ctx context.Context, text string) error {
	// The clipboard belongs to the thread that opened it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var err error
	for range clipboardTries {
		var ok uintptr
		if ok, _, err = openClipboard.Call(0); ok != 0 {
			defer closeClipboard.Call()
			return fillClipboard(text)
		}
		timer := time.NewTimer(clipboardPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	return fmt.Errorf("open the clipboard: %w", err)
}

func fillClipboard(text string) error {
	units, err := windows.UTF16FromString(text)
	if err != nil {
		return fmt.Errorf("copy to the clipboard: %w", err)
	}
	if ok, _, err := emptyClipboard.Call(); ok == 0 {
		return fmt.Errorf("empty the clipboard: %w", err)
	}
	size := uintptr(len(units)) * unsafe.Sizeof(units[0])
	block, _, err := globalAlloc.Call(moveable, size)
	if block == 0 {
		return fmt.Errorf("copy to the clipboard: allocate %d bytes: %w", size, err)
	}
	// From here the block is freed unless the clipboard takes it.
	target, _, err := globalLock.Call(block)
	if target == 0 {
		globalFree.Call(block)
		return fmt.Errorf("copy to the clipboard: lock memory: %w", err)
	}
	moveMemory.Call(target, uintptr(unsafe.Pointer(&units[0])), size)
	globalUnlock.Call(block)
	if ok, _, err := setClipboardData.Call(formatUnicodeText, block); ok == 0 {
		globalFree.Call(block)
		return fmt.Errorf("copy to the clipboard: %w", err)
	}
	return nil
}
