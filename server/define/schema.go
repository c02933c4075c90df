package define

import _ "embed" // the two files below

// Example is a document with every key there is, and words on each.
//
//go:embed example.yaml
var Example []byte

// Schema is the JSON schema of a document.
//
//go:embed schema.json
var Schema []byte
