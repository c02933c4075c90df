package tray

import (
	"testing"
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
)

var (
	works   = input{daemon: present, status: &localv1.Status{State: localv1.State_CONNECTED, WantedUp: true, View: localv1.View_FULL, Url: "https://a.b"}}
	broken  = input{daemon: present, status: &localv1.Status{State: localv1.State_FAILED, WantedUp: true, View: localv1.View_FULL, Problems: []*localv1.Problem{{Cause: "no route", Remedy: "plug it in"}}}}
	off     = input{daemon: present, status: &localv1.Status{State: localv1.State_DOWN, View: localv1.View_FULL}}
	refused = input{daemon: present, status: &localv1.Status{
		State: localv1.State_DEGRADED, WantedUp: true, View: localv1.View_FULL, Url: "https://a.b", Problems: []*localv1.Problem{{Code: "signed-out"}},
	}}
	taken = input{daemon: present, status: &localv1.Status{State: localv1.State_CONNECTED, WantedUp: true, View: localv1.View_SUMMARY, Owner: "bob"}}
	gone  = input{daemon: away, away: fault{"nobody", "start it"}, status: works.status}
)

// step is what is known after so long.
type step struct {
	after time.Duration
	in    input
	want  string // title of the notification, "" for none
}

func TestPolicy(t *testing.T) {
	s := time.Second
	for name, steps := range map[string][]step{
		"lost, told after 10 s, back":    {{0, works, ""}, {s, broken, ""}, {9 * s, broken, ""}, {s, broken, "Connection lost"}, {60 * s, broken, ""}, {s, works, "Connected again"}, {s, works, ""}},
		"back before 10 s":               {{0, works, ""}, {s, broken, ""}, {9 * s, works, ""}, {s, broken, ""}, {9 * s, works, ""}},
		"switched off":                   {{0, works, ""}, {s, off, ""}, {60 * s, off, ""}, {s, works, ""}},
		"never connected":                {{0, broken, ""}, {60 * s, broken, ""}, {s, works, ""}},
		"the daemon ends":                {{0, works, ""}, {s, gone, ""}, {10 * s, gone, "Causeway does not answer"}, {s, works, "Connected again"}},
		"signed out, once":               {{0, works, ""}, {s, refused, "Sign in needed"}, {60 * s, refused, ""}, {s, works, ""}, {120 * s, refused, "Sign in needed"}},
		"signed out twice within 1 m":    {{0, works, ""}, {s, refused, "Sign in needed"}, {s, works, ""}, {s, refused, ""}, {60 * s, refused, "Sign in needed"}},
		"another user":                   {{0, works, ""}, {s, taken, "Disconnected"}, {s, taken, ""}},
		"another user had it":            {{0, taken, ""}, {s, taken, ""}},
		"lost again within five minutes": {{0, works, ""}, {s, broken, ""}, {10 * s, broken, "Connection lost"}, {s, works, "Connected again"}, {s, broken, ""}, {60 * s, broken, ""}, {s, works, ""}},
		"lost again after five minutes":  {{0, works, ""}, {s, broken, ""}, {10 * s, broken, "Connection lost"}, {s, works, "Connected again"}, {300 * s, broken, ""}, {10 * s, broken, "Connection lost"}},
	} {
		t.Run(name, func(t *testing.T) {
			var p policy
			now := time.Unix(1e9, 0)
			for i, step := range steps {
				now = now.Add(step.after)
				notes, _ := p.observe(now, step.in)
				got := ""
				if len(notes) > 0 {
					got = notes[0].title
				}
				if got != step.want || len(notes) > 1 {
					t.Fatalf("step %d: %+v, want %q", i, notes, step.want)
				}
			}
		})
	}
}

// TestPolicyBoundsFlapping: a connection that comes and goes for a day.
func TestPolicyBoundsFlapping(t *testing.T) {
	var p policy
	now, told := time.Unix(1e9, 0), 0
	last := ""
	for i := range 24 * 60 {
		in := works
		if i%2 == 1 {
			in = broken
		}
		for range 2 {
			notes, _ := p.observe(now, in)
			for _, n := range notes {
				told++
				last = n.title
			}
			now = now.Add(30 * time.Second)
		}
	}
	// A loss each five minutes at most, each with its end.
	if most := 24 * 12 * 2; told > most || told == 0 {
		t.Errorf("%d notifications in a day, allowed are %d", told, most)
	}
	p.observe(now, works)
	if last == "" {
		t.Error("nothing was told")
	}
}

// TestPolicySaysWhenToAsk: a loss is told without anything else happening.
func TestPolicySaysWhenToAsk(t *testing.T) {
	var p policy
	now := time.Unix(1e9, 0)
	p.observe(now, works)
	_, again := p.observe(now, broken)
	if again.Sub(now) != lostAfter {
		t.Errorf("ask again after %v, want %v", again.Sub(now), lostAfter)
	}
	if notes, _ := p.observe(again, broken); len(notes) != 1 || notes[0].text != "no route\nplug it in" || notes[0].icon != iconError {
		t.Errorf("notes %+v", notes)
	}
}
