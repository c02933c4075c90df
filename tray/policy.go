package tray

import (
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
)

// note is a notification.
type note struct {
	title, text string
	urgent      bool
	icon        icon // the state it is about
}

// The policy of notifications. Only what changes what the user can do is told;
// what is over before somebody would notice is not.
const (
	// lostAfter is how long the connection may be gone before it is told: roaming
	// and a restart of the daemon are over sooner.
	lostAfter = 10 * time.Second
	// lostEvery is the least time between two that tell of a loss. Each may be
	// followed by one that tells of the end of it.
	lostEvery = 5 * time.Minute
	// otherEvery is the least time between two of any other kind.
	otherEvery = time.Minute
)

// policy decides what is told. It keeps no clock of its own.
type policy struct {
	before   input
	worked   bool      // it was connected since it was last wanted
	badSince time.Time // zero: not bad
	toldLost bool
	lastLost time.Time
	last     map[string]time.Time // by kind
	asked    bool                 // the missing sign-in was told
}

// observe takes what is known now and gives what to tell, and when to ask again
// although nothing has happened; zero for never.
func (p *policy) observe(now time.Time, in input) (notes []note, again time.Time) {
	if p.last == nil {
		p.last = map[string]time.Time{}
	}
	notes = append(notes, p.owner(now, in)...)
	notes = append(notes, p.signIn(now, in)...)
	more, again := p.connection(now, in)
	notes = append(notes, more...)
	for i := range notes {
		notes[i].icon = iconOf(in, in.status)
	}
	p.before = in
	return notes, again
}

func (p *policy) connection(now time.Time, in input) ([]note, time.Time) {
	state := in.status.GetState()
	connected := in.daemon == present && state == localv1.State_CONNECTED
	unwanted := in.daemon == present && (!in.status.GetWantedUp() || in.status.GetView() == localv1.View_SUMMARY)
	switch {
	case unwanted, needsSignIn(in.status) && in.daemon == present:
		// Off because somebody wants it so, or told of as a missing sign-in.
		p.worked, p.badSince, p.toldLost = false, time.Time{}, false
		return nil, time.Time{}
	case connected:
		told := p.toldLost
		p.worked, p.badSince, p.toldLost = true, time.Time{}, false
		if told {
			return []note{{title: "Connected again", text: headline(in, in.status)}}, time.Time{}
		}
		return nil, time.Time{}
	case !p.worked || p.toldLost:
		return nil, time.Time{}
	}
	if p.badSince.IsZero() {
		p.badSince = now
	}
	due := p.badSince.Add(lostAfter)
	if earliest := p.lastLost.Add(lostEvery); !p.lastLost.IsZero() && earliest.After(due) {
		due = earliest
	}
	if now.Before(due) {
		return nil, due
	}
	p.toldLost, p.lastLost = true, now
	return []note{lostNote(in)}, time.Time{}
}

func lostNote(in input) note {
	if in.daemon != present {
		return note{title: "Causeway does not answer", text: sentence(in.away), urgent: true}
	}
	why := fault{cause: headline(in, in.status)}
	if problems := in.status.GetProblems(); len(problems) > 0 {
		why = fault{problems[0].GetCause(), problems[0].GetRemedy()}
	}
	title := "Connection lost"
	if in.status.GetState() == localv1.State_DEGRADED {
		title = "The connection is degraded"
	}
	return note{title: title, text: sentence(why), urgent: in.status.GetState() == localv1.State_FAILED}
}

func sentence(f fault) string {
	text := cut(f.cause, 300)
	if f.remedy != "" {
		text += "\n" + cut(f.remedy, 300)
	}
	return text
}

// signIn tells once that the credentials went missing or are refused; not of a
// deployment that nobody has signed in to yet, or that was signed out from.
func (p *policy) signIn(now time.Time, in input) []note {
	if in.daemon != present {
		return nil
	}
	if !needsSignIn(in.status) {
		p.asked = false
		return nil
	}
	if p.asked || !in.status.GetWantedUp() || !p.allow(now, "sign-in") {
		return nil
	}
	p.asked = true
	text := "Choose Sign in in the menu of this icon."
	if host := hostOf(in.status.GetUrl()); host != "" {
		text = cut(host, maxName) + " does not take the token any more. " + text
	}
	return []note{{title: "Sign in needed", text: text, urgent: true}}
}

// owner tells that another user has taken the tunnel over.
func (p *policy) owner(now time.Time, in input) []note {
	had := p.before.daemon == present && p.before.status.GetView() == localv1.View_FULL && p.before.status.GetWantedUp()
	if !had || in.daemon != present || in.status.GetView() != localv1.View_SUMMARY || !p.allow(now, "owner") {
		return nil
	}
	return []note{{title: "Disconnected", text: ownerName(in.status) + " has taken over the tunnel of this machine."}}
}

func (p *policy) allow(now time.Time, kind string) bool {
	if last, told := p.last[kind]; told && now.Sub(last) < otherEvery {
		return false
	}
	p.last[kind] = now
	return true
}
