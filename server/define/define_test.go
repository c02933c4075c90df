package define

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

func read(t *testing.T, document string) Definition {
	t.Helper()
	definition, err := Read([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return definition
}

func kept(t *testing.T, definition Definition) []byte {
	t.Helper()
	document, err := definition.Document()
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// TestExample: the example that is printed is good, has every key there is, and
// comes back the same from what is kept and from what is shown.
func TestExample(t *testing.T) {
	definition := read(t, string(Example))
	document := kept(t, definition)
	loaded, err := Load(document)
	if err != nil || !reflect.DeepEqual(loaded, definition) {
		t.Errorf("loaded %+v, %v\nwant %+v", loaded, err, definition)
	}
	shown, err := YAML(document)
	if err != nil || bytes.HasPrefix(shown, []byte("{")) || !strings.Contains(string(shown), "    run: |\n") {
		t.Errorf("shown as\n%s%v", shown, err)
	}
	for _, form := range [][]byte{shown, document} {
		if again := kept(t, read(t, string(form))); !bytes.Equal(again, document) {
			t.Errorf("%s\nreads as\n%s", form, again)
		}
	}
	if script := definition.Scripts[0]; script.Timeout != Duration(5*time.Minute) || !script.OnStart || !script.BlocksLogin || !strings.HasSuffix(script.Run, "install.sh\n") {
		t.Errorf("%+v", script)
	}
}

// TestSchema holds the schema to the keys that are read, and the example to all of
// them, at every level.
func TestSchema(t *testing.T) {
	var schema, example map[string]any
	document := kept(t, read(t, string(Example)))
	if err := errors.Join(json.Unmarshal(Schema, &schema), json.Unmarshal(document, &example)); err != nil {
		t.Fatal(err)
	}
	compare(t, "$", schema, reflect.TypeFor[Definition]())
	if !strings.Contains(string(Example), "# value: ") {
		t.Error("the example does not have the one key that is not kept")
	}
	covered(t, "$", schema, example)
}

// compare holds a schema's properties to the fields of a type.
func compare(t *testing.T, path string, schema map[string]any, of reflect.Type) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	var want []string
	for i := range of.NumField() {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			name = strings.ToLower(field.Name) // read, and not kept
		}
		want = append(want, name)
		property, found := properties[name].(map[string]any)
		if !found {
			t.Errorf("%s has no %s", path, name)
			continue
		}
		kind := field.Type
		if kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Struct {
			property, _ = property["items"].(map[string]any)
			kind = kind.Elem()
		}
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		if kind.Kind() == reflect.Struct {
			compare(t, path+"."+name, property, kind)
		}
	}
	if len(properties) != len(want) || schema["additionalProperties"] != false {
		t.Errorf("%s has %d properties, want %d (and no others: %v)", path, len(properties), len(want), schema["additionalProperties"])
	}
}

// covered says which properties of a schema no value of the example has.
func covered(t *testing.T, path string, schema map[string]any, examples ...any) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	for name, property := range properties {
		var below []any
		for _, example := range examples {
			if one, found := example.(map[string]any)[name]; found {
				below = append(below, one)
			}
		}
		if len(below) == 0 && path+"."+name != "$.secrets.value" {
			t.Errorf("no example of %s.%s", path, name)
		}
		next := property.(map[string]any)
		if items, found := next["items"].(map[string]any); found && len(below) > 0 {
			next, below = items, below[0].([]any)
		}
		if next["properties"] != nil {
			covered(t, path+"."+name, next, below...)
		}
	}
}

// TestSchemaLimits: the figures of the schema are those that are held.
func TestSchemaLimits(t *testing.T) {
	var schema struct {
		Properties map[string]struct {
			MaxItems, MaxProperties int
			Items                   struct {
				Properties map[string]struct{ MaxLength int }
			}
		}
	}
	if err := json.Unmarshal(Schema, &schema); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"secrets": SecretCount, "scripts": ScriptCount, "apps": AppCount, "metadata": MetadataCount} {
		if got := schema.Properties[name].MaxItems; got != want {
			t.Errorf("%s: at most %d, want %d", name, got, want)
		}
	}
	for got, want := range map[int]int{
		schema.Properties["environment"].MaxProperties:                       EnvironmentCount,
		schema.Properties["secrets"].Items.Properties["value"].MaxLength:     SecretLimit,
		schema.Properties["scripts"].Items.Properties["run"].MaxLength:       ScriptLimit,
		schema.Properties["metadata"].Items.Properties["run"].MaxLength:      MetadataScriptLimit,
		schema.Properties["scripts"].Items.Properties["name"].MaxLength:      nameLimit,
		schema.Properties["apps"].Items.Properties["display_name"].MaxLength: displayLimit,
	} {
		if got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
}

// TestJSONIsTheSame: one document in both languages, with tabs and on one line.
func TestJSONIsTheSame(t *testing.T) {
	want := kept(t, read(t, "version: 1\nenvironment:\n  A: \"1\"\nscripts:\n  - {name: a, run: \"true\", on_start: true, timeout: 90s}\n"))
	for _, form := range []string{
		`{"version":1,"environment":{"A":"1"},"scripts":[{"name":"a","run":"true","on_start":true,"timeout":"1m30s"}]}`,
		"{\n\t\"version\": 1,\r\n\t\"environment\": {\"A\": \"1\"},\n\t\"scripts\": [\n\t\t{\"name\": \"a\", \"run\": \"true\", \"on_start\": true, \"timeout\": \"1.5m\"}]}",
		"\ufeff{version: 1, environment: {A: '1'}, scripts: [{name: a, run: 'true', on_start: true, timeout: 90s}], apps: }",
	} {
		if got := kept(t, read(t, form)); !bytes.Equal(got, want) {
			t.Errorf("%s\nreads as %s\nwant     %s", form, got, want)
		}
	}
}

func TestStableIDs(t *testing.T) {
	agent, other := uuid.MustParse("11111111-2222-4333-8444-555555555555"), uuid.MustParse("11111111-2222-4333-8444-555555555556")
	// They are in databases of agents and servers: they never change.
	if got := ScriptID(agent, "dotfiles"); got != uuid.NewSHA1(agent, []byte("script/dotfiles")) || got.Version() != 5 || got.String() != "445d1a76-2db8-5344-854a-f16e32a3ad24" {
		t.Errorf("%s", got)
	}
	seen := map[uuid.UUID]bool{}
	for _, id := range []uuid.UUID{
		ScriptID(agent, "a"), LogSourceID(agent, "a"), AppID(agent, "a"), ScriptID(other, "a"), ScriptID(agent, "b"), AppID(agent, "b"),
	} {
		if seen[id] {
			t.Errorf("%s stands for two things", id)
		}
		seen[id] = true
	}
}

func TestManifest(t *testing.T) {
	definition := read(t, string(Example))
	agent := Agent{ID: uuid.MustParse("11111111-2222-4333-8444-555555555555"), Name: "Main", Workspace: "myws", Owner: "alice"}
	manifest := &agentv2.Manifest{}
	definition.Fill(manifest, agent, map[string]store.SecretValue{"npm-token": store.SecretValue("t0p")})
	if manifest.GetDirectory() != "~/project" || manifest.GetMotdPath() != "/etc/motd" || manifest.GetEnvironmentVariables()["WEB_CONCURRENCY"] != "2" ||
		manifest.GetVsCodePortProxyUri() != "https://{{port}}--main--myws--alice.apps.example.com" {
		t.Errorf("%s", prototext.Format(manifest))
	}
	if secrets := manifest.GetSecrets(); len(secrets) != 1 || secrets[0].GetEnvName() != "NPM_TOKEN" || string(secrets[0].GetValue()) != "t0p" {
		t.Errorf("secrets %v: one without a value must not be there", secrets)
	}
	var scripts []string
	for _, script := range manifest.GetScripts() {
		scripts = append(scripts, fmt.Sprintf("%s %t %t %q %s %t", script.GetDisplayName(), script.GetRunOnStart(), script.GetRunOnStop(), script.GetCron(), script.GetTimeout().AsDuration(), script.GetStartBlocksLogin()))
	}
	if want := []string{`Dotfiles true false "" 5m0s true`, `save false true "" 30s false`, `cleanup false false "0 30 2 * * 1-5" 0s false`}; !slices.Equal(scripts, want) {
		t.Errorf("scripts %q, want %q", scripts, want)
	}
	first := manifest.GetScripts()[0]
	if uuid.UUID(first.GetId()) != ScriptID(agent.ID, "dotfiles") || uuid.UUID(first.GetLogSourceId()) != LogSourceID(agent.ID, "dotfiles") || first.GetLogPath() != "~/dotfiles.log" {
		t.Errorf("%v", first)
	}
	web, top, wiki := manifest.GetApps()[0], manifest.GetApps()[1], manifest.GetApps()[2]
	if web.GetSubdomainName() != "web--main--myws--alice" || web.GetHealth() != agentv2.WorkspaceApp_INITIALIZING || web.GetHealthcheck().GetThreshold() != 3 ||
		web.GetHealthcheck().GetInterval().AsDuration() != 10*time.Second || web.GetSharingLevel() != agentv2.WorkspaceApp_OWNER || uuid.UUID(web.GetId()) != AppID(agent.ID, "web") {
		t.Errorf("%v", web)
	}
	if top.GetHealth() != agentv2.WorkspaceApp_DISABLED || top.GetHealthcheck() != nil || !top.GetHidden() || top.GetDisplayName() != "top" || !wiki.GetExternal() {
		t.Errorf("%v %v", top, wiki)
	}
	if cpu := manifest.GetMetadata()[0]; cpu.GetKey() != "cpu" || cpu.GetInterval().AsDuration() != 10*time.Second || cpu.GetTimeout().AsDuration() != 5*time.Second || cpu.GetDisplayName() != "CPU" {
		t.Errorf("%v", cpu)
	}
	resources := definition.Resources()
	if resources.GetConfig().GetNumDatapoints() != 20 || resources.GetConfig().GetCollectionIntervalSeconds() != 10 || !resources.GetMemory().GetEnabled() ||
		len(resources.GetVolumes()) != 2 || resources.GetVolumes()[1].GetPath() != "/home" || !resources.GetVolumes()[1].GetEnabled() {
		t.Errorf("%v", resources)
	}
	if none := (Definition{}).Resources(); none.GetMemory() != nil || len(none.GetVolumes()) != 0 || none.GetConfig().GetNumDatapoints() != MonitoringDatapoints {
		t.Errorf("of no definition: %v", none)
	}
}

// TestLargestManifest: the largest definition with the largest secrets fits into
// one message of the transport, with as much room left for the relay map.
func TestLargestManifest(t *testing.T) {
	var document strings.Builder
	document.WriteString("version: 1\nsecrets:\n")
	values, each := map[string]store.SecretValue{}, store.SecretsTotal/SecretCount
	for i := range SecretCount {
		name := fmt.Sprintf("s%d", i)
		fmt.Fprintf(&document, "  - {name: %s, env: S%d, file: %s}\n", name, i, strings.Repeat("f", 600))
		values[name] = bytes.Repeat([]byte{0xff}, each)
	}
	document.WriteString("metadata:\n")
	for i := range MetadataCount {
		fmt.Fprintf(&document, "  - {key: k%d, run: %s}\n", i, strings.Repeat("m", 400))
	}
	document.WriteString("scripts:\n")
	for i := 0; document.Len() < DocumentLimit-2000; i++ {
		fmt.Fprintf(&document, "  - {name: n%d, on_stop: true, run: %q}\n", i, strings.Repeat("r", min(ScriptLimit, DocumentLimit-1000-document.Len())))
	}
	definition := read(t, document.String())
	manifest := &agentv2.Manifest{}
	definition.Fill(manifest, Agent{}, values)
	if size := proto.Size(manifest); size < 700<<10 || size > 2<<20 {
		t.Errorf("%d bytes", size)
	}
}
