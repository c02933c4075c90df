//go:build unix

package terminal

import (
	"time"

	"golang.org/x/sys/unix"
)

// poll is how often a family is looked at while it ends.
const poll = 20 * time.Millisecond

// killRounds bounds the hunt for processes that multiply while they are killed.
const killRounds = 50

// entry is one process of the system that lives; zombies do not.
type entry struct {
	parent, session int
	started         uint64 // a number alone may be another process later
}

// family is every process of a terminal: those of its session, whatever job
// they belong to, and the descendants of these, in whatever session. What has
// left both (a daemon) has done so to survive.
type family struct {
	leader  int
	reaped  <-chan struct{} // closed when the leader's number may be another's
	members map[int]uint64  // by number: when it started
}

// look counts who lives, after it has adopted those that it did not know.
func (f *family) look() (alive []int) {
	table := processes()
	if f.members == nil {
		f.members = map[int]uint64{}
	}
	isMember := func(pid int) bool {
		started, known := f.members[pid]
		return known && table[pid].started == started
	}
	for added := true; added; {
		added = false
		for pid, each := range table {
			if !isMember(pid) && (isMember(each.parent) || f.ofSession(pid, each)) {
				f.members[pid] = each.started
				added = true
			}
		}
	}
	for pid := range table {
		if isMember(pid) {
			alive = append(alive, pid)
		}
	}
	return alive
}

// ofSession says whether a process belongs to the terminal's session. The
// number of a session is not given away while it has members, but it may be
// when the leader has been reaped and nobody is left.
func (f *family) ofSession(pid int, each entry) bool {
	if each.session != f.leader {
		return false
	}
	select {
	case <-f.reaped:
		return pid != f.leader
	default:
		return true
	}
}

// hangUp tells everybody, and waits until all have gone or the limit is over.
func (f *family) hangUp(limit time.Duration) {
	for _, pid := range f.look() {
		_ = unix.Kill(pid, unix.SIGHUP) // it may be gone by now
		_ = unix.Kill(pid, unix.SIGCONT)
	}
	for end := time.Now().Add(limit); time.Now().Before(end) && len(f.look()) > 0; {
		time.Sleep(poll)
	}
}

// kill ends all, and those that appear meanwhile.
func (f *family) kill() {
	for range killRounds {
		alive := f.look()
		if len(alive) == 0 {
			return
		}
		for _, pid := range alive {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(poll / 10)
	}
}
