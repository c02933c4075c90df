package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/template"
	"time"
)

// product is one installer package around one component.
type product struct {
	ID, Version, Title string
	At                 time.Time
	Payload, Scripts   []entry
}

// minimumMacOS is the oldest that Go 1.26 programs run on (its release notes).
const minimumMacOS = "12.0"

var (
	idForm      = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)
	versionForm = regexp.MustCompile(`^[0-9]+(\.[0-9]+){1,2}([-+.~][0-9A-Za-z.+~-]+)?$`)
)

func (p product) check() error {
	switch {
	case !idForm.MatchString(p.ID):
		return fmt.Errorf("check identifier: %q is no name in reverse order, such as com.example.product", p.ID)
	case !versionForm.MatchString(p.Version):
		return fmt.Errorf("check version: %q is no version such as 1.2.3", p.Version)
	case p.Title == "":
		return errors.New("check title: it is empty")
	case len(p.Payload) < 2:
		return errors.New("check payload: there are no files")
	}
	for _, script := range p.Scripts {
		if !script.dir() && script.Mode&0o111 == 0 {
			return fmt.Errorf("check scripts: %s is not executable", script.Path)
		}
	}
	return nil
}

// build makes the package: the component first, then how to install it.
func (p product) build() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	bom, err := billOfMaterials(p.Payload, p.At)
	if err != nil {
		return nil, err
	}
	payload, err := archive(p.Payload, p.At)
	if err != nil {
		return nil, err
	}
	component := []xarFile{{Name: "Bom", Data: bom}, {Name: "Payload", Data: payload, Packed: true}}
	if len(p.Scripts) > 1 {
		scripts, err := archive(p.Scripts, p.At)
		if err != nil {
			return nil, err
		}
		component = append(component, xarFile{Name: "Scripts", Data: scripts, Packed: true})
	}
	info, err := p.render(packageInfo)
	if err != nil {
		return nil, err
	}
	distribution, err := p.render(distributionScript)
	if err != nil {
		return nil, err
	}
	component = append(component, xarFile{Name: "PackageInfo", Data: info})
	return xar([]xarFile{
		{Name: p.component(), dir: true, Children: component},
		{Name: "Distribution", Data: distribution},
	}, p.At)
}

// component is the name of the inner package.
func (p product) component() string { return p.ID + ".pkg" }

// kilobytes is the room that the payload takes on a disk of 512-byte blocks.
func (p product) kilobytes() int {
	blocks := 0
	for _, e := range p.Payload {
		blocks += (len(e.Data) + 511) / 512
	}
	return (blocks + 1) / 2
}

func (p product) script(name string) bool {
	for _, e := range p.Scripts {
		if e.Path == "./"+name {
			return true
		}
	}
	return false
}

// packageInfo keeps relocatable off: else Installer updates a copy of the app
// that it finds elsewhere.
var packageInfo = parse("PackageInfo", `<?xml version="1.0" encoding="UTF-8"?>
<pkg-info format-version="2" identifier="{{xml .ID}}" version="{{xml .Version}}" install-location="/" auth="root" relocatable="false">
	<payload numberOfFiles="{{.Files}}" installKBytes="{{.KBytes}}"/>
{{- if or .Pre .Post}}
	<scripts>
{{- if .Pre}}
		<preinstall file="./preinstall"/>
{{- end}}
{{- if .Post}}
		<postinstall file="./postinstall"/>
{{- end}}
	</scripts>
{{- end}}
</pkg-info>
`)

// distributionScript names both processors: without them Installer asks for
// Rosetta on Apple silicon.
var distributionScript = parse("Distribution", `<?xml version="1.0" encoding="UTF-8"?>
<installer-gui-script minSpecVersion="2">
	<title>{{xml .Title}}</title>
	<options customize="never" require-scripts="false" hostArchitectures="x86_64,arm64" rootVolumeOnly="true"/>
	<domains enable_anywhere="false" enable_currentUserHome="false" enable_localSystem="true"/>
	<volume-check>
		<allowed-os-versions>
			<os-version min="{{.MacOS}}"/>
		</allowed-os-versions>
	</volume-check>
	<choices-outline>
		<line choice="default"/>
	</choices-outline>
	<choice id="default" title="{{xml .Title}}">
		<pkg-ref id="{{xml .ID}}"/>
	</choice>
	<pkg-ref id="{{xml .ID}}" version="{{xml .Version}}" onConclusion="none" installKBytes="{{.KBytes}}">#{{xml .Component}}</pkg-ref>
</installer-gui-script>
`)

func parse(name, text string) *template.Template {
	escape := func(value string) (string, error) {
		var out strings.Builder
		err := xml.EscapeText(&out, []byte(value))
		return out.String(), err
	}
	return template.Must(template.New(name).Funcs(template.FuncMap{"xml": escape}).Parse(text))
}

func (p product) render(text *template.Template) ([]byte, error) {
	var out bytes.Buffer
	err := text.Execute(&out, map[string]any{
		"ID": p.ID, "Version": p.Version, "Title": p.Title, "Component": p.component(), "MacOS": minimumMacOS,
		"Files": len(p.Payload), "KBytes": p.kilobytes(), "Pre": p.script("preinstall"), "Post": p.script("postinstall"),
	})
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", text.Name(), err)
	}
	return out.Bytes(), nil
}
