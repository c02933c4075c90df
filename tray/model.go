package tray

import (
	"fmt"
	"strconv"

	"github.com/causewayhq/causeway/proto/localv1"
)

// icon is the state as the panel shows it, by shape and colour.
type icon string

// The icons; each is a file in packaging/icons.
const (
	iconConnected  icon = "connected"
	iconConnecting icon = "connecting"
	iconDegraded   icon = "degraded"
	iconOff        icon = "off"
	iconError      icon = "error"
)

// mark is the small picture beside a line; that of the first is the state's.
type mark string

// The marks; each is a file in packaging/icons.
const (
	markNone    mark = ""
	markGood    mark = "mark-good"
	markSlow    mark = "mark-slow"    // answers late
	markLost    mark = "mark-lost"    // does not answer
	markIdle    mark = "mark-idle"    // not in use, so not measured
	markStopped mark = "mark-stopped" // its workspace does not run
)

// daemonState is whether there is a daemon to talk to.
type daemonState int

const (
	searching daemonState = iota // not known yet, or gone a moment ago
	away
	present
)

// fault is what went wrong and what helps.
type fault struct{ cause, remedy string }

// input is everything that the icon and the menu depend on.
type input struct {
	daemon        daemonState
	status        *localv1.Status // the last that was heard; nil before the first
	profiles      []*localv1.Profile
	settings      settings
	version       string // of this program
	daemonVersion string
	away          fault  // why there is no daemon
	refused       fault  // what became of the last click, if it failed
	busy          string // what a click has set going: "Connecting" ...
}

// verb is what a click does.
type verb int

const (
	nothing verb = iota
	showStatus
	copyText
	connect
	disconnect
	openShell
	openBrowser
	switchProfile
	signIn
	signOut
	setAutostart
	setConnectAtLaunch
	quit
)

// action is a verb and what it is done to.
type action struct {
	verb verb
	arg  string
}

// item is one line of the menu. Items are never removed and never change their
// place or kind, because the backends can only append; they are hidden.
type item struct {
	key       string // stable, unique; the path of the item
	label     string
	separator bool
	checkable bool
	checked   bool
	disabled  bool
	hidden    bool
	mark      mark
	do        action
	children  []item
}

// model is what the backend shows.
type model struct {
	icon    icon
	tooltip string
	items   []item
}

// How many workspaces and profiles have a line. Who has more finds all of them
// with causeway list; a menu of hundreds of lines helps nobody.
const (
	topWorkspaces = 10 // in the menu itself
	allWorkspaces = 100
	allProfiles   = 20
	allProblems   = 3
)

// The longest texts, in characters.
const (
	maxLine    = 90
	maxName    = 60
	maxTooltip = 120 // Windows cuts at 127 UTF-16 units
)

// build is the model of an input.
func build(in input) model {
	status := in.status
	if in.daemon == away || status == nil {
		status = &localv1.Status{}
	}
	out := model{icon: iconOf(in, status), items: []item{statusItem(in, status), detailItem(in, status)}}
	out.items = append(out.items, problemItems(in, status)...)
	out.items = append(out.items, line("sep.toggle"), toggleItem(in, status), line("sep.workspaces"))
	out.items = append(out.items, workspaceItems(in, status)...)
	out.items = append(out.items, line("sep.account"), profilesItem(in), signInItem(in, status), signOutItem(in, status),
		line("sep.end"), settingsItem(in), aboutItem(in),
		item{key: "quit", label: "Quit (the tunnel stays as it is)", do: action{verb: quit}})
	out.tooltip = cut("Causeway: "+tooltipOf(in, status), maxTooltip)
	return out
}

func line(key string) item { return item{key: key, separator: true} }

func iconOf(in input, status *localv1.Status) icon {
	switch in.daemon {
	case away:
		return iconError
	case searching:
		return iconConnecting
	case present:
	}
	switch status.GetState() {
	case localv1.State_CONNECTED:
		return iconConnected
	case localv1.State_DEGRADED:
		return iconDegraded
	case localv1.State_STARTING:
		return iconConnecting
	case localv1.State_FAILED:
		return iconError
	case localv1.State_DOWN, localv1.State_SIGNED_OUT:
		return iconOff
	case localv1.State_STATE_UNSPECIFIED:
	}
	return iconError
}

// headline is the state in words.
func headline(in input, status *localv1.Status) string {
	switch in.daemon {
	case away:
		return "The Causeway service does not answer"
	case searching:
		return "Looking for the Causeway service…"
	case present:
	}
	if status.GetView() == localv1.View_SUMMARY && status.GetState() == localv1.State_CONNECTED {
		return "Connected by " + ownerName(status)
	}
	to := ""
	if host := hostOf(status.GetUrl()); host != "" {
		to = " to " + cut(host, maxName)
	}
	switch status.GetState() {
	case localv1.State_CONNECTED:
		return "Connected" + to
	case localv1.State_DEGRADED:
		return "Degraded: connected" + to + ", but not as it should be"
	case localv1.State_STARTING:
		return "Connecting" + to + "…"
	case localv1.State_FAILED:
		return "Failed: not connected"
	case localv1.State_DOWN:
		if status.GetWaitsForLogin() {
			return "Disconnected until its owner logs in"
		}
		return "Disconnected"
	case localv1.State_SIGNED_OUT:
		return "Not signed in"
	case localv1.State_STATE_UNSPECIFIED:
	}
	return "The state is not known"
}

func tooltipOf(in input, status *localv1.Status) string {
	text := headline(in, status)
	if in.daemon == present && len(status.GetProblems()) > 0 {
		text += ". " + printable(status.GetProblems()[0].GetCause())
	}
	return text
}

func statusItem(in input, status *localv1.Status) item {
	return item{key: "status", label: headline(in, status), mark: mark("mark-" + string(iconOf(in, status))), do: action{verb: showStatus}}
}

// detailItem is what was measured.
func detailItem(in input, status *localv1.Status) item {
	text := ""
	switch {
	case in.daemon != present:
	case status.GetView() == localv1.View_SUMMARY:
		if status.GetOwner() != "" || status.GetWantedUp() {
			text = "The tunnel of this machine belongs to " + ownerName(status)
		}
	case status.GetInterface() != "":
		text = "Names do not answer"
		if status.GetCanaryOk() {
			text = "Names answer"
		}
		if status.GetControlConnected() {
			text += ", control plane connected"
		} else {
			text += ", control plane not connected"
		}
		if home := status.GetHomeRelay(); home != nil && home.GetLatency() != nil {
			text += ", relay " + cut(relayName(home), 20) + " " + rounded(home.GetLatency().AsDuration())
		}
	}
	return item{key: "detail", label: cut(text, maxLine), hidden: text == "", do: action{verb: showStatus}}
}

func ownerName(status *localv1.Status) string {
	if status.GetOwner() == "" {
		return "another user"
	}
	return cut(status.GetOwner(), maxName)
}

// problemItems are the problems, each with its remedy below it; a click on a
// remedy copies it, since it often is a command.
func problemItems(in input, status *localv1.Status) []item {
	var faults []fault
	if in.refused != (fault{}) {
		faults = append(faults, in.refused)
	}
	if in.daemon == away {
		faults = append(faults, in.away)
	}
	for _, problem := range status.GetProblems() {
		if in.daemon == present {
			faults = append(faults, fault{problem.GetCause(), problem.GetRemedy()})
		}
	}
	var items []item
	for i := range allProblems {
		key := "problem." + strconv.Itoa(i)
		cause, remedy := item{key: key, hidden: true, do: action{verb: showStatus}}, item{key: key + ".remedy", hidden: true}
		if i < len(faults) {
			cause.label, cause.hidden = "⚠ "+cut(faults[i].cause, maxLine), false
			remedy.label, remedy.hidden = "    → "+cut(faults[i].remedy, maxLine), faults[i].remedy == ""
			remedy.do = action{copyText, printable(faults[i].remedy)}
		}
		items = append(items, cause, remedy)
	}
	return items
}

// toggleItem connects and disconnects.
func toggleItem(in input, status *localv1.Status) item {
	out := item{key: "toggle", label: "Connect", do: action{verb: connect}}
	summary := status.GetView() == localv1.View_SUMMARY
	switch {
	case in.busy != "":
		out.label, out.disabled = in.busy+"…", true
	case in.daemon != present:
		out.disabled = true
	case summary && status.GetWantedUp():
		out.label, out.disabled = "Connect (not while "+ownerName(status)+" is connected)", true
	case summary:
		profile := firstSignedIn(in.profiles)
		out.do.arg, out.disabled = profile, profile == ""
	case status.GetState() == localv1.State_SIGNED_OUT:
		out.label, out.disabled = "Connect (sign in first)", true
	case status.GetWantedUp():
		out.label, out.do = "Disconnect", action{verb: disconnect}
	}
	return out
}

// firstSignedIn is the user's own profile to connect where another user's is
// the active one.
func firstSignedIn(profiles []*localv1.Profile) string {
	for _, profile := range profiles {
		if profile.GetSignedIn() {
			return profile.GetName()
		}
	}
	return ""
}

func profilesItem(in input) item {
	parent := item{key: "profiles", label: "Profile", hidden: len(in.profiles) == 0 || in.daemon != present}
	for i := range allProfiles {
		child := item{key: "profiles." + strconv.Itoa(i), checkable: true, hidden: true}
		if i < len(in.profiles) {
			profile := in.profiles[i]
			child.label, child.hidden, child.checked = cut(profile.GetName(), maxName), false, profile.GetActive()
			if profile.GetUser() != "" {
				child.label += " — " + cut(profile.GetUser(), maxName)
			}
			if !profile.GetSignedIn() {
				child.label += " (signed out)"
			}
			child.do = action{switchProfile, profile.GetName()}
			if profile.GetActive() {
				parent.label = "Profile: " + cut(profile.GetName(), maxName)
			}
		}
		parent.children = append(parent.children, child)
	}
	return parent
}

func signInItem(in input, status *localv1.Status) item {
	out := item{key: "signin", label: "Sign in…", disabled: in.daemon != present, do: action{signIn, ""}}
	switch {
	case status.GetView() == localv1.View_SUMMARY:
	case needsSignIn(status):
		out.do.arg = status.GetUrl()
	case status.GetUrl() != "":
		out.label = "Sign in to another deployment…"
	}
	return out
}

// needsSignIn says that the credentials are missing or refused.
func needsSignIn(status *localv1.Status) bool {
	for _, problem := range status.GetProblems() {
		if problem.GetCode() == "signed-out" || problem.GetCode() == "token-expired" {
			return true
		}
	}
	return status.GetState() == localv1.State_SIGNED_OUT
}

func signOutItem(in input, status *localv1.Status) item {
	out := item{key: "signout", label: "Sign out", do: action{verb: signOut}}
	if user := status.GetUser(); user != "" {
		out.label = "Sign out " + cut(user, maxName)
	}
	out.hidden = in.daemon != present || status.GetView() == localv1.View_SUMMARY || status.GetState() == localv1.State_SIGNED_OUT
	return out
}

func settingsItem(in input) item {
	return item{key: "settings", label: "Settings", children: []item{
		{key: "settings.autostart", label: "Start this icon at login", checkable: true, checked: in.settings.autostart, do: action{verb: setAutostart}},
		{key: "settings.connect", label: "Connect when this icon starts", checkable: true, checked: in.settings.connectAtLaunch, do: action{verb: setConnectAtLaunch}},
	}}
}

func aboutItem(in input) item {
	service := "not running"
	if in.daemon == present && in.daemonVersion != "" {
		service = cut(in.daemonVersion, maxName)
	}
	return item{key: "about", label: "About", children: []item{
		{key: "about.tray", label: "Causeway tray " + cut(in.version, maxName), do: action{copyText, in.version}},
		{key: "about.service", label: "Causeway service " + service, do: action{copyText, in.daemonVersion}},
		{key: "about.more", label: fmt.Sprintf("Everything else: %s", "causeway --help"), do: action{copyText, "causeway --help"}},
	}}
}
