package define

import (
	"net/url"
	"time"
)

func (v value) apps() []App {
	var read []App
	slugs := map[string]int{}
	v.list(AppCount, "apps", func(v value) {
		var a App
		var address value
		v.object(map[string]func(value){
			"slug": func(v value) {
				a.Slug = v.identifier(slugName, "lower-case letters and digits, single hyphens between them", slugs)
			},
			"display_name": func(v value) { a.DisplayName = v.oneLine(displayLimit) },
			"url":          func(v value) { a.URL, address = v.oneLine(urlLimit), v },
			"command":      func(v value) { a.Command = v.block(ScriptLimit) },
			"icon":         func(v value) { a.Icon = v.oneLine(urlLimit) },
			"external":     func(v value) { a.External = v.flag() },
			"subdomain":    func(v value) { a.Subdomain = v.flag() },
			"sharing":      func(v value) { a.Sharing = v.oneOf("owner", "authenticated", "organization", "public") },
			"hidden":       func(v value) { a.Hidden = v.flag() },
			"health":       func(v value) { a.Health = v.health() },
		}, "slug")
		v.checkApp(a, address)
		read = append(read, a)
	})
	return read
}

// checkApp says what does not go together.
func (v value) checkApp(a App, address value) {
	if v.kind != mapping {
		return
	}
	complain := func(found, want string) { v.complain(v.first(), v.path, found, want) }
	switch {
	case a.URL == "" && a.Command == "":
		complain("neither url nor command", "one of them")
	case a.URL != "" && a.Command != "":
		complain("url and command", "one of them")
	case a.External && a.URL == "":
		complain("external without url", "where it leads")
	case a.External && (a.Subdomain || a.Health != nil):
		complain("external with subdomain or health", "neither: what is outside of the workspace is only a link")
	case a.Command != "" && (a.Subdomain || a.Health != nil):
		complain("command with subdomain or health", "neither: they are for what has a url")
	case a.External:
		// Editors have schemes of their own, as in vscode://.
		if parsed, err := url.Parse(a.URL); err != nil || parsed.Scheme == "" {
			address.wrong(quote(a.URL), "a URL with its scheme")
		}
	case a.URL != "":
		address.url()
	}
}

func (v value) health() *Health {
	h := &Health{}
	v.object(map[string]func(value){
		"url":       func(v value) { h.URL = v.url() },
		"interval":  func(v value) { h.Interval = v.duration(false, healthFloor, healthMost) },
		"threshold": func(v value) { h.Threshold = v.count(1, thresholdMost) },
	}, "url", "interval", "threshold")
	return h
}

func (v value) metadata() []Metadata {
	var read []Metadata
	keys := map[string]int{}
	v.list(MetadataCount, "keys", func(v value) {
		var m Metadata
		v.object(map[string]func(value){
			"key": func(v value) {
				m.Key = v.identifier(keyName, "letters, digits and . _ / : -, a letter, digit or _ first", keys)
			},
			"display_name": func(v value) { m.DisplayName = v.oneLine(displayLimit) },
			"run":          func(v value) { m.Run = v.block(MetadataScriptLimit) },
			"interval":     func(v value) { m.Interval = v.duration(true, metadataFloor, metadataMost) },
			"timeout":      func(v value) { m.Timeout = v.duration(true, time.Second, metadataTimeoutMost) },
		}, "key", "run")
		read = append(read, m)
	})
	return read
}

func (v value) monitoring() *Monitoring {
	m := &Monitoring{Interval: Duration(MonitoringInterval), Datapoints: MonitoringDatapoints}
	volumes := map[string]int{}
	v.object(map[string]func(value){
		"memory": func(v value) { m.Memory = v.flag() },
		"volumes": func(v value) {
			v.list(VolumeCount, "volumes", func(v value) {
				m.Volumes = append(m.Volumes, v.oneLine(pathLimit))
				v.unique(v.text, volumes)
			})
		},
		"interval":   func(v value) { m.Interval = v.duration(false, time.Second, monitoringMost) },
		"datapoints": func(v value) { m.Datapoints = v.count(1, datapointsMost) },
	})
	if v.kind == mapping && !m.Memory && len(m.Volumes) == 0 {
		v.complain(v.first(), v.path, "neither memory nor volumes", "what is to be watched")
	}
	return m
}
