package define

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/goccy/go-yaml"
)

// YAML is a kept document as people edit it. What it gives reads as the same
// definition: where YAML would not, it is JSON, which is good as well.
func YAML(document []byte) ([]byte, error) {
	var indented bytes.Buffer
	if err := json.Indent(&indented, document, "", "  "); err != nil {
		return nil, fmt.Errorf("write definition: %w", err)
	}
	indented.WriteByte('\n')
	written, err := toYAML(document)
	if err != nil {
		return indented.Bytes(), nil
	}
	read, err := Read(written)
	if err != nil {
		return indented.Bytes(), nil
	}
	if again, err := read.Document(); err != nil || !bytes.Equal(again, document) {
		return indented.Bytes(), nil
	}
	return written, nil
}

func toYAML(document []byte) (written []byte, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("write YAML: %v", cause)
		}
	}()
	var ordered yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(document, &ordered, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	return yaml.MarshalWithOptions(ordered, yaml.UseLiteralStyleIfMultiline(true), yaml.IndentSequence(true))
}
