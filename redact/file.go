package redact

import (
	"bytes"
	"encoding/json"
	"path"
)

// File is the content of a file of that name without secrets: JSON stays JSON.
func (r *Redactor) File(name string, content []byte) []byte {
	switch path.Ext(name) {
	case ".json":
		return r.json(content, "  ")
	case ".ndjson":
		var out bytes.Buffer
		for line := range bytes.Lines(content) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				out.Write(r.json(line, ""))
			}
		}
		return out.Bytes()
	}
	return r.Bytes(content)
}

// json goes over the texts in a value one by one; what is no JSON is a text.
func (r *Redactor) json(content []byte, indent string) []byte {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil || decoder.More() {
		return r.Bytes(content)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if encoder.Encode(r.value(value)) != nil {
		return r.Bytes(content)
	}
	// Once more what is known, where it stands over several texts.
	return []byte(r.known.Replace(out.String()))
}

func (r *Redactor) value(value any) any {
	switch value := value.(type) {
	case string:
		return r.Text(value)
	case []any:
		for i, item := range value {
			value[i] = r.value(item)
		}
	case map[string]any:
		out := make(map[string]any, len(value))
		// A list of names and values, as in our log and environment.
		name, named := value["name"].(string)
		for key, item := range value {
			text, isText := item.(string)
			switch {
			case isText && text != "" && secretKey.MatchString(key), isText && text != "" && named && key == "value" && secretKey.MatchString(name):
				out[key] = Mark
			default:
				out[r.Text(key)] = r.value(item)
			}
		}
		return out
	}
	return value
}
