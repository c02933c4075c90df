// Command sbom writes what programs were really linked from, as their own build
// records say, in CycloneDX's JSON.
//
//	sbom -name causeway -version 1.2.3 -purl pkg:deb/... -licenses FILE PROGRAM... > causeway.cdx.json
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// product is what is described, beside the programs in it.
type product struct {
	name, version string
	licences      map[string][]string // by module
	when          time.Time
}

func main() {
	var p product
	flag.StringVar(&p.name, "name", "", "name of the package")
	flag.StringVar(&p.version, "version", "", "its version")
	licences := flag.String("licenses", "", "file of SPDX names by module, as internal/licenses writes it")
	flag.Parse()
	if err := run(os.Stdout, p, *licences, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(to io.Writer, p product, licences string, programs []string) error {
	if p.name == "" || p.version == "" || len(programs) == 0 {
		return fmt.Errorf("usage: sbom -name NAME -version VERSION -licenses FILE PROGRAM...")
	}
	content, err := os.ReadFile(licences)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, &p.licences); err != nil {
		return fmt.Errorf("read %s: %w", licences, err)
	}
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("read SOURCE_DATE_EPOCH: %w", err)
	}
	p.when = time.Unix(epoch, 0).UTC()
	bom, err := p.describe(programs)
	if err != nil {
		return err
	}
	return cdx.NewBOMEncoder(to, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
}

// describe lists the programs, the modules in them and which is in which.
func (p product) describe(programs []string) (*cdx.BOM, error) {
	root := "pkg:generic/" + p.name + "@" + p.version
	components := map[string]cdx.Component{}
	needs := map[string][]string{}
	for _, path := range programs {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		ref := root + "#" + filepath.Base(path)
		components[ref] = cdx.Component{
			Type: cdx.ComponentTypeApplication, BOMRef: ref, Name: filepath.Base(path), Version: p.version,
			Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
			Properties: settings(info),
		}
		needs[root] = append(needs[root], ref)
		modules := append(slices.Clone(info.Deps), &debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")})
		for _, module := range modules {
			component, err := p.module(module)
			if err != nil {
				return nil, err
			}
			components[component.BOMRef] = component
			needs[ref] = append(needs[ref], component.BOMRef)
		}
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: p.when.Format(time.RFC3339),
		Component: &cdx.Component{
			Type: cdx.ComponentTypeApplication, BOMRef: root, Name: p.name, Version: p.version,
			Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
		},
	}
	var list []cdx.Component
	for _, ref := range sorted(components) {
		list = append(list, components[ref])
	}
	bom.Components = &list
	var edges []cdx.Dependency
	for _, ref := range sorted(needs) {
		slices.Sort(needs[ref])
		refs := slices.Compact(needs[ref])
		edges = append(edges, cdx.Dependency{Ref: ref, Dependencies: &refs})
	}
	bom.Dependencies = &edges
	return bom, serial(bom)
}

// module is a module as a component, with the sum that go.sum has of it.
func (p product) module(from *debug.Module) (cdx.Component, error) {
	what := from
	if from.Replace != nil {
		what = from.Replace
	}
	ref := "pkg:golang/" + what.Path + "@" + what.Version
	component := cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: ref, PackageURL: ref, Name: what.Path, Version: what.Version}
	if sum, found := strings.CutPrefix(what.Sum, "h1:"); found {
		raw, err := base64.StdEncoding.DecodeString(sum)
		if err != nil {
			return component, fmt.Errorf("read sum of %s: %w", what.Path, err)
		}
		component.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(raw)}}
	}
	name := from.Path
	if name == "std" {
		name = "Go standard library"
	}
	var choices cdx.Licenses
	for _, spdx := range p.licences[name] {
		choices = append(choices, cdx.LicenseChoice{Expression: strings.ReplaceAll(spdx, "-AND-", " AND ")})
	}
	switch len(choices) {
	case 0:
		return component, fmt.Errorf("module %s has no licence in the list", from.Path)
	case 1:
	default:
		// CycloneDX takes one expression.
		var all []string
		for _, choice := range choices {
			all = append(all, choice.Expression)
		}
		slices.Sort(all)
		choices = cdx.Licenses{{Expression: strings.Join(slices.Compact(all), " AND ")}}
	}
	component.Licenses = &choices
	return component, nil
}

// settings are those of the build that change the program.
func settings(info *debug.BuildInfo) *[]cdx.Property {
	list := []cdx.Property{{Name: "go:version", Value: info.GoVersion}}
	for _, setting := range info.Settings {
		list = append(list, cdx.Property{Name: "go:" + setting.Key, Value: setting.Value})
	}
	return &list
}

// serial numbers the list by what it says, so that two builds agree.
func serial(bom *cdx.BOM) error {
	text, err := json.Marshal(bom)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	id := sum[:16]
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // RFC 9562, version 8: made of a hash
	bom.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	return nil
}

func sorted[V any](all map[string]V) []string {
	var keys []string
	for key := range all {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
