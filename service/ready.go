package service

import (
	"context"
	"os"
	"strconv"
	"time"
)

// readyLimit is how long the daemon calls itself starting for the sake of a
// device that does not come: it answers and can say why, and a service manager
// that waited longer would only start it again.
const readyLimit = 5 * time.Second

// tellReady tells the service manager that the daemon is there: it answers, and
// the device of a wanted tunnel is open, or it is known why it is not.
func (s *Service) tellReady(ctx context.Context) {
	timer := time.NewTimer(readyLimit)
	defer timer.Stop()
	for s.awaitsDevice() {
		changed := s.changed.next()
		if !s.awaitsDevice() {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			s.notify("READY=1")
			return
		case <-s.config.Opened:
		case <-changed:
		}
	}
	s.notify("READY=1")
}

// awaitsDevice says that a tunnel is wanted, and neither its device nor a
// reason against it is there.
func (s *Service) awaitsDevice() bool {
	if s.config.Opened == nil {
		return false
	}
	select {
	case <-s.config.Opened:
		return false
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wantsTunnel() && s.trouble == nil
}

// watchdogInterval is how often the service manager wants to hear from this
// process (sd_watchdog_enabled(3)); 0: it does not.
func watchdogInterval(lookupEnv func(string) (string, bool), pid int) time.Duration {
	if text, ok := lookupEnv("WATCHDOG_PID"); ok {
		if meant, err := strconv.Atoi(text); err != nil || meant != pid {
			return 0
		}
	}
	text, _ := lookupEnv("WATCHDOG_USEC")
	micros, err := strconv.ParseInt(text, 10, 64)
	if err != nil || micros <= 0 {
		return 0
	}
	return time.Duration(micros) * time.Microsecond
}

// keepWatchdog tells the service manager that the daemon is alive, three times
// in each interval. It asks the tunnel to know: that waits for the locks of the
// daemon and of the tunnel, so a daemon that is stuck with one is silent.
func (s *Service) keepWatchdog(ctx context.Context) {
	interval := watchdogInterval(s.config.LookupEnv, os.Getpid())
	if interval == 0 {
		return
	}
	ticker := time.NewTicker(interval / 3)
	defer ticker.Stop()
	for {
		s.answers()
		s.notify("WATCHDOG=1")
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// answers returns when neither the daemon nor its tunnel is stuck with a lock.
func (s *Service) answers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tunnel != nil {
		_ = s.tunnel.Brief()
	}
}
