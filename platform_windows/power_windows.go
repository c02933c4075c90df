package platform

import (
	"log/slog"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	powrprof                 = windows.NewLazySystemDLL("powrprof.dll")
	registerSuspendResume    = powrprof.NewProc("PowerRegisterSuspendResumeNotification")
	unregisterSuspendResume  = powrprof.NewProc("PowerUnregisterSuspendResumeNotification")
	suspendResumeSubscribers suspendResume
)

// deviceNotifyCallback is DEVICE_NOTIFY_CALLBACK (winuser.h).
const deviceNotifyCallback = 2

// subscription is DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS (powrprof.h).
type subscription struct {
	callback uintptr
	context  uintptr
}

// suspendResume gives the events of the system to whoever watches. A callback of
// Windows cannot be freed, so there is one for the process, made when needed.
type suspendResume struct {
	once     sync.Once
	callback uintptr

	mu   sync.Mutex
	tell map[*OS]bool
}

func (s *suspendResume) event(_ uintptr, kind uint32, _ uintptr) uintptr {
	signal, ok := fromPower(kind)
	if !ok {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := range s.tell {
		o.Observe(signal)
	}
	return 0
}

// watchPower has Windows tell of suspend and resume, which it does from version 8
// on; before that, and where it refuses, the clocks tell. It returns what ends it.
func (o *OS) watchPower() (stop func()) {
	s := &suspendResumeSubscribers
	if registerSuspendResume.Find() != nil || unregisterSuspendResume.Find() != nil {
		return func() {}
	}
	s.once.Do(func() { s.callback = windows.NewCallback(s.event) })
	s.mu.Lock()
	if s.tell == nil {
		s.tell = map[*OS]bool{}
	}
	s.tell[o] = true
	s.mu.Unlock()
	forget := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.tell, o)
	}
	parameters := &subscription{callback: s.callback}
	var handle windows.Handle
	code, _, _ := registerSuspendResume.Call(deviceNotifyCallback, uintptr(unsafe.Pointer(parameters)), uintptr(unsafe.Pointer(&handle)))
	if code != 0 {
		o.log.Info("Windows does not tell of suspend and resume; going by the clocks", slog.String("error", windows.Errno(code).Error()))
		return forget
	}
	return func() {
		_, _, _ = unregisterSuspendResume.Call(uintptr(handle))
		runtime.KeepAlive(parameters)
		forget()
	}
}
