package resources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// world is a monitor with its machine and its control plane, in a bubble.
type world struct {
	*Monitor
	t     *testing.T
	log   bytes.Buffer
	began time.Time

	mu      sync.Mutex
	config  *agentv2.GetResourcesMonitoringConfigurationResponse
	asks    []error // what the next questions get
	pushes  []error // what the next reports get
	block   bool
	asked   int
	told    [][]time.Duration // when the datapoints of each report were measured
	at      []time.Duration
	last    *agentv2.PushResourcesMonitoringUsageRequest_Datapoint
	volumes map[string]func() (Amount, error)
	noMem   error
	most    int // questions to one volume at once
	busy    int
}

func newWorld(t *testing.T, datapoints, seconds int32, memory bool, volumes ...string) *world {
	w := &world{t: t, began: time.Now(), volumes: map[string]func() (Amount, error){}}
	w.config = &agentv2.GetResourcesMonitoringConfigurationResponse{
		Config: &agentv2.GetResourcesMonitoringConfigurationResponse_Config{NumDatapoints: datapoints, CollectionIntervalSeconds: seconds},
		Memory: &agentv2.GetResourcesMonitoringConfigurationResponse_Memory{Enabled: memory},
	}
	for _, path := range volumes {
		w.config.Volumes = append(w.config.Volumes, &agentv2.GetResourcesMonitoringConfigurationResponse_Volume{Enabled: true, Path: path})
	}
	w.Monitor = NewMonitor(slog.New(slog.NewTextHandler(&w.log, nil)))
	w.memory = func(bool) (Amount, Scope, error) { return Amount{3, 4}, Container, w.noMem }
	w.volume = func(path string) (Amount, error) {
		w.mu.Lock()
		answer := w.volumes[path]
		w.busy++
		w.most = max(w.most, w.busy)
		w.mu.Unlock()
		defer func() {
			w.mu.Lock()
			w.busy--
			w.mu.Unlock()
		}()
		if answer != nil {
			return answer()
		}
		return Amount{5, 6}, nil
	}
	return w
}

func (w *world) GetResourcesMonitoringConfiguration(context.Context, *agentv2.GetResourcesMonitoringConfigurationRequest) (*agentv2.GetResourcesMonitoringConfigurationResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if len(w.asks) > 0 {
		err := w.asks[0]
		w.asks = w.asks[1:]
		return nil, err
	}
	return w.config, nil
}

func (w *world) PushResourcesMonitoringUsage(ctx context.Context, in *agentv2.PushResourcesMonitoringUsageRequest) (*agentv2.PushResourcesMonitoringUsageResponse, error) {
	w.mu.Lock()
	block := w.block
	var err error
	if len(w.pushes) > 0 {
		err, w.pushes = w.pushes[0], w.pushes[1:]
	}
	w.mu.Unlock()
	if block {
		<-ctx.Done()
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var moments []time.Duration
	for _, point := range in.GetDatapoints() {
		moments = append(moments, point.GetCollectedAt().AsTime().Sub(w.began))
		w.last = point
	}
	w.told, w.at = append(w.told, moments), append(w.at, time.Since(w.began))
	return &agentv2.PushResourcesMonitoringUsageResponse{}, nil
}

func (w *world) live(while time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), while)
	defer cancel()
	if err := w.Run(ctx, w); err != nil {
		w.t.Error(err)
	}
	<-ctx.Done()
}

func seconds(numbers ...int) []time.Duration {
	var result []time.Duration
	for _, n := range numbers {
		result = append(result, time.Duration(n)*time.Second)
	}
	return result
}

func TestDatapoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 10, true, "/home", "/home", "")
		w.live(55 * time.Second)
		want := [][]time.Duration{seconds(10, 20, 30), seconds(20, 30, 40), seconds(30, 40, 50)}
		if !slices.EqualFunc(w.told, want, slices.Equal) {
			t.Errorf("told %v, want %v", w.told, want)
		}
		if w.last.GetMemory().GetUsed() != 3 || w.last.GetMemory().GetTotal() != 4 {
			t.Errorf("memory is %v", w.last.GetMemory())
		}
		if volumes := w.last.GetVolumes(); len(volumes) != 1 || volumes[0].GetVolume() != "/home" || volumes[0].GetUsed() != 5 || volumes[0].GetTotal() != 6 {
			t.Errorf("volumes are %v", volumes)
		}
	})
}

func TestWhatIsWanted(t *testing.T) {
	tests := []struct {
		name    string
		config  func(t *testing.T) *world
		reports int
	}{
		{"nothing", func(t *testing.T) *world { return newWorld(t, 1, 1, false) }, 0},
		{"no datapoints", func(t *testing.T) *world { return newWorld(t, 0, 1, true) }, 0},
		{"negative datapoints", func(t *testing.T) *world { return newWorld(t, -1, 1, true) }, 0},
		{"memory", func(t *testing.T) *world { return newWorld(t, 1, 10, true) }, 2},
		{"volumes", func(t *testing.T) *world { return newWorld(t, 1, 10, false, "/") }, 2},
		{"no interval", func(t *testing.T) *world { return newWorld(t, 1, 0, true) }, 25},
		{"negative interval", func(t *testing.T) *world { return newWorld(t, 1, -5, true) }, 25},
		{"switched off", func(t *testing.T) *world {
			w := newWorld(t, 1, 1, false, "/")
			w.config.Volumes[0].Enabled = false
			return w
		}, 0},
		{"empty answer", func(t *testing.T) *world {
			w := newWorld(t, 0, 0, false)
			w.config = &agentv2.GetResourcesMonitoringConfigurationResponse{}
			return w
		}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := test.config(t)
				w.live(25500 * time.Millisecond)
				if len(w.told) != test.reports || w.asked != 1 {
					t.Errorf("%d reports, %d questions, want %d reports", len(w.told), w.asked, test.reports)
				}
			})
		})
	}
	t.Run("too much", func(t *testing.T) {
		answer := newWorld(t, 1<<30, 1<<30, true).config
		for i := range 2 * maxVolumes {
			answer.Volumes = append(answer.Volumes, &agentv2.GetResourcesMonitoringConfigurationResponse_Volume{Enabled: true, Path: fmt.Sprint("/", i)})
		}
		got, any := planOf(answer)
		if !any || got.datapoints != maxDatapoints || got.interval != maxInterval || len(got.volumes) != maxVolumes {
			t.Errorf("got %+v", got)
		}
	})
}

func TestFaultsOfTheControlPlane(t *testing.T) {
	broken := errors.New("database is away")
	tests := []struct {
		name string
		live func(w *world)
		at   []time.Duration
		last []time.Duration
	}{
		{"fails to say what it wants", func(w *world) {
			w.asks = []error{broken, broken}
			w.live(41 * time.Second)
		}, seconds(30, 40), seconds(20, 30, 40)[1:]},
		{"fails to take it", func(w *world) {
			w.pushes = []error{broken, broken}
			w.live(45 * time.Second)
		}, seconds(40), seconds(30, 40)},
		{"is cut and comes back", func(w *world) {
			w.live(15 * time.Second)
			time.Sleep(time.Minute)
			w.live(15 * time.Second)
		}, seconds(85), seconds(10, 85)},
		{"comes back with another wish", func(w *world) {
			w.live(25 * time.Second)
			w.config.Config.CollectionIntervalSeconds = 20
			w.live(50 * time.Second)
		}, seconds(20, 65), seconds(45, 65)},
		{"blocks for a minute", func(w *world) {
			w.block = true
			time.AfterFunc(time.Minute, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.block = false
			})
			w.live(85 * time.Second) // the report of 50 s is under way until 80 s
		}, seconds(80, 80), seconds(70, 80)},
		{"does not know it", func(w *world) {
			w.asks = []error{drpcerr.WithCode(errors.New("no"), drpcerr.Unimplemented)}
			w.live(45 * time.Second)
		}, nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2, 10, true)
				test.live(w)
				var last []time.Duration
				if len(w.told) > 0 {
					last = w.told[len(w.told)-1]
				}
				// Of two that come at once, the first may have been replaced by the second.
				at := w.at
				if test.name == "blocks for a minute" && len(at) == 1 {
					at = append(at, at[0])
				}
				if !slices.Equal(at, test.at) || !slices.Equal(last, test.last) {
					t.Errorf("told %v at %v, want the last to be %v, at %v", w.told, w.at, test.last, test.at)
				}
			})
		})
	}
}

func TestFaultsOfTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 10, true, "/absent", "/hangs", "/home")
		w.noMem = errors.New("no such file")
		absent := true
		w.volumes["/absent"] = func() (Amount, error) {
			if absent {
				return Amount{}, fmt.Errorf("measure volume /absent: %w", os.ErrNotExist)
			}
			return Amount{1, 2}, nil
		}
		release := make(chan struct{})
		w.volumes["/hangs"] = func() (Amount, error) {
			<-release
			return Amount{7, 8}, nil
		}
		w.live(35 * time.Second)
		if len(w.told) != 3 || w.last.GetMemory() != nil || len(w.last.GetVolumes()) != 1 || w.last.GetVolumes()[0].GetVolume() != "/home" {
			t.Errorf("told %v, the last is %v", w.told, w.last)
		}
		if w.busy != 1 || w.most > 3 {
			t.Errorf("%d questions wait, %d at most", w.busy, w.most)
		}
		if got := w.log.String(); strings.Count(got, "\n") != 3 || !strings.Contains(got, "/absent") || !strings.Contains(got, "no answer") {
			t.Errorf("logged %q", got)
		}
		absent, w.noMem = false, nil
		close(release)
		w.live(25 * time.Second)
		if w.last.GetMemory() == nil || len(w.last.GetVolumes()) != 3 || w.last.GetVolumes()[1].GetUsed() != 7 {
			t.Errorf("the last is %v", w.last)
		}
		if got := w.log.String(); strings.Count(got, "\n") != 6 || strings.Count(got, "again") != 3 {
			t.Errorf("logged %q", got)
		}
	})
}
