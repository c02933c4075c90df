package tunnel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/tailnet"
)

// A file that was cut off anywhere, or has one bit wrong anywhere, is ignored
// whole, or says exactly what was saved.
func TestDamageAnywhere(t *testing.T) {
	disk := store{t.TempDir()}
	kept := full(t)
	kept.Places = map[string]place{"plane.test": {Addrs: []netip.Addr{goodAddr}, At: time.Unix(1700000000, 0).UTC()}}
	if err := disk.save(kept); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(disk.path())
	if err != nil {
		t.Fatal(err)
	}
	for length := range good {
		if _, err := decodeSaved(good[:length]); err == nil {
			t.Fatalf("the first %d of %d bytes were taken", length, len(good))
		}
	}
	want, _ := json.Marshal(kept)
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 1 << (at % 8)
		if back, err := decodeSaved(bad); err == nil {
			if got, _ := json.Marshal(back); !bytes.Equal(got, want) {
				t.Fatalf("a wrong bit in byte %d changed what was read", at)
			}
		}
	}
}

// What a process that was killed while it wrote has left is taken away by the
// next one, and is never read.
func TestLeftoversOfAKilledProcess(t *testing.T) {
	dir := t.TempDir()
	disk, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	kept := full(t)
	if err := disk.save(kept); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"." + stateFile + "-123", ".probe-9"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half of it"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if disk, err = openStore(dir); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files", len(entries))
	}
	if back, found, err := disk.load(); err != nil || !found || back.ClientID != kept.ClientID {
		t.Errorf("afterwards %v, %v", found, err)
	}
}

const saverDir = "CAUSEWAY_TEST_SAVER_DIR"

// TestSaverProcess is no test: TestKilledWhileSaving runs it in a process of
// its own, and kills it.
func TestSaverProcess(t *testing.T) {
	dir := os.Getenv(saverDir)
	if dir == "" {
		t.Skip("runs only in a process of its own")
	}
	kept := full(t)
	for i := range 20000 { // some megabytes, so that a write takes its time
		kept.Nodes[uuid.UUID{byte(i >> 8), byte(i)}] = bytes.Repeat([]byte{1}, 100)
	}
	for i := 0; ; i++ {
		kept.Suffix = fmt.Sprintf("suffix%d", i)
		if err := (store{dir}).save(kept); err != nil {
			t.Fatal(err)
		}
	}
}

// A process that is killed at any moment leaves a state that was saved whole.
func TestKilledWhileSaving(t *testing.T) {
	dir := t.TempDir()
	if err := (store{dir}).save(full(t)); err != nil {
		t.Fatal(err)
	}
	halves := 0
	for range 12 {
		process := exec.Command(os.Args[0], "-test.run=^TestSaverProcess$")
		process.Env = append(os.Environ(), saverDir+"="+dir)
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(150*time.Millisecond + rand.N(150*time.Millisecond))
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait()
		if _, found, err := (store{dir}).load(); err != nil || !found {
			t.Fatalf("found %v, %v", found, err)
		}
		left, _ := filepath.Glob(filepath.Join(dir, tempPattern))
		halves += len(left)
		if _, err := openStore(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of 12 were killed in the middle of a write", halves)
}

// slowDisk takes its time, and may be full.
type slowDisk struct {
	takes time.Duration
	mu    sync.Mutex
	full  error
	saves []time.Time
	last  saved
}

func (d *slowDisk) save(kept saved) error {
	time.Sleep(d.takes)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saves, d.last = append(d.saves, time.Now()), kept
	return d.full
}

func (d *slowDisk) count() int { d.mu.Lock(); defer d.mu.Unlock(); return len(d.saves) }

func newSaver(t *testing.T, disk *slowDisk) *session {
	t.Helper()
	tunnel := New(Config{Profile: profile()})
	tunnel.saved = full(t)
	s := &session{
		tunnel: tunnel, disk: disk, engine: &engine{kept: tunnel.saved},
		dirty: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { s.keepSaved(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return s
}

// A large state that changes all the time costs a twentieth of the time, and a
// small one is saved soon.
func TestSavesKeepToAShare(t *testing.T) {
	for name, test := range map[string]struct {
		takes       time.Duration
		least, most int // saves in a minute
	}{
		"small": {time.Millisecond, 110, 121},
		"large": {200 * time.Millisecond, 13, 16},
		"huge":  {5 * time.Second, 2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := &slowDisk{takes: test.takes}
				s := newSaver(t, disk)
				for range 6000 {
					time.Sleep(10 * time.Millisecond)
					s.keep(func(*saved) {})
				}
				if saves := disk.count(); saves < test.least || saves > test.most {
					t.Errorf("%d saves in a minute", saves)
				}
			})
		})
	}
}

func TestUrgentSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{takes: 10 * time.Millisecond}
		s := newSaver(t, disk)
		time.Sleep(time.Minute)
		s.keep(func(k *saved) { k.Suffix = "now" })
		s.signal(s.urgent)
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if disk.last.Suffix != "now" {
			t.Error("not saved at once")
		}
	})
}

// A full disk is tried again without a change, and the newest state is on it
// then.
func TestFullDiskIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{full: errors.New("no space left on device")}
		s := newSaver(t, disk)
		synctest.Wait()
		if s.tunnel.facts.saveErr == nil {
			t.Fatal("not told")
		}
		disk.mu.Lock()
		disk.full = nil
		disk.mu.Unlock()
		before := disk.count()
		time.Sleep(saveRetry)
		synctest.Wait()
		if disk.count() != before+1 || s.tunnel.facts.saveErr != nil {
			t.Errorf("%d saves, %v", disk.count()-before, s.tunnel.facts.saveErr)
		}
		time.Sleep(time.Hour)
		if disk.count() != before+1 {
			t.Error("saved without a change")
		}
	})
}

// A state directory that goes away under a running tunnel is a problem that is
// told, and nothing stops: names answer, and it mends by itself.
func TestTunnelGoesOnWithoutDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		dir := lived(t, p, network)
		r := newBubbleRig(t, p, network, dir).start()
		r.waitState(Connected)
		time.Sleep(time.Minute) // nothing is being saved any more
		synctest.Wait()
		away := dir + "-away"
		if err := os.Rename(dir, away); err != nil {
			t.Fatal(err)
		}
		p.updates <- snapshot("other", "second")
		status := r.wait("a problem", func(s Status) bool { return len(s.Problems) > 0 && s.Problems[0].Code == CodeState })
		if status.State != Degraded || len(status.Agents) != 2 || !resolves(t, r.Tunnel, "second.coder", "other") {
			t.Errorf("status %+v", status)
		}
		if old, found, err := (store{away}).load(); err != nil || !found || old.Workspaces.Len() != 1 {
			t.Errorf("the old state is %v, %v", found, err)
		}
		if err := os.Rename(away, dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(saveRetry + saveDelay)
		r.waitState(Connected)
		if kept, found, err := (store{dir}).load(); err != nil || !found || kept.Workspaces.Len() != 2 {
			t.Errorf("afterwards %v, %v", found, err)
		}
	})
}

// A peer's first session is on the disk before anything can happen to us.
func TestFirstSessionIsSavedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		dir := t.TempDir()
		r := newBubbleRig(t, p, network, dir).start()
		r.waitState(Connected)
		time.Sleep(probeEvery / 2)
		peer := idOf("main")
		began := time.Now()
		r.engine().do(func() { r.engine().peers[peer] = tailnet.PeerStatus{LastHandshake: began} })
		r.engine().began()
		synctest.Wait()
		kept, found, err := (store{dir}).load()
		if err != nil || !found || len(kept.Active) != 1 || kept.Active[0] != peer || !time.Now().Equal(began) {
			t.Errorf("on disk: %v, %v, after %v", kept.Active, err, time.Since(began))
		}
	})
}
