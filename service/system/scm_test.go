package system

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSCMWanted(t *testing.T) {
	usable := func(name string) bool { return name != "iphlpsvc" && name != "nsi" }
	got := wanted(`C:\Program Files\Causeway\causewayd.exe`, usable)
	if got.Command != `"C:\Program Files\Causeway\causewayd.exe" run --service` {
		t.Errorf("the command line is %s", got.Command)
	}
	if want := []string{"Dnscache", "netprofm", "Tcpip"}; !slices.Equal(got.Dependencies, want) {
		t.Errorf("depends on %v, want %v", got.Dependencies, want)
	}
	if got.Recovery[0] > time.Second || !got.NonCrash || got.Delayed || !got.Automatic || !got.Unrestricted {
		t.Errorf("settings %+v", got)
	}
	if got.Preshutdown <= 12*time.Second { // service.ShutdownLimit
		t.Errorf("Windows waits %v at a shutdown", got.Preshutdown)
	}
	if other := wanted(`C:\c\causewayd.exe`, usable).Command; other != `C:\c\causewayd.exe run --service` {
		t.Errorf("the command line is %s", other)
	}
}

// TestSCMChanges: each setting that differs takes its own call, and nothing else.
func TestSCMChanges(t *testing.T) {
	want := wanted(`C:\c.exe`, func(string) bool { return true })
	if got := want.changes(want); len(got) != 0 {
		t.Errorf("%v although nothing differs", got)
	}
	if got := want.changes(settings{}); !slices.Equal(got, []change{changeConfig, changeDescription, changeSID, changeRecovery, changeNonCrash, changePreshutdown}) {
		t.Errorf("of a new service: %v", got)
	}
	for name, c := range map[string]struct {
		edit func(*settings)
		want change
	}{
		"command":      {func(s *settings) { s.Command = "x" }, changeConfig},
		"name":         {func(s *settings) { s.DisplayName = "x" }, changeConfig},
		"start":        {func(s *settings) { s.Automatic = false }, changeConfig},
		"dependencies": {func(s *settings) { s.Dependencies = nil }, changeConfig},
		"description":  {func(s *settings) { s.Description = "x" }, changeDescription},
		"delayed":      {func(s *settings) { s.Delayed = true }, changeDelayed},
		"SID":          {func(s *settings) { s.Unrestricted = false }, changeSID},
		"delays":       {func(s *settings) { s.Recovery = []time.Duration{time.Minute} }, changeRecovery},
		"reset":        {func(s *settings) { s.Reset = 0 }, changeRecovery},
		"non-crash":    {func(s *settings) { s.NonCrash = false }, changeNonCrash},
		"preshutdown":  {func(s *settings) { s.Preshutdown = 3 * time.Minute }, changePreshutdown},
	} {
		found := want
		c.edit(&found)
		if got := want.changes(found); !slices.Equal(got, []change{c.want}) {
			t.Errorf("%s differs: %v, want %v", name, got, c.want)
		}
	}
	lower := want
	lower.Dependencies = nil
	for _, name := range want.Dependencies {
		lower.Dependencies = append(lower.Dependencies, strings.ToLower(name))
	}
	if got := want.changes(lower); len(got) != 0 {
		t.Errorf("names of services differ by case: %v", got)
	}
	words := map[string]bool{}
	for c := range changePreshutdown + 1 {
		words[want.words(c)] = true
	}
	if len(words) != int(changePreshutdown)+1 {
		t.Errorf("words %v", words)
	}
}
