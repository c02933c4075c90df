// Package define reads what the owner of a workspace wants its agent to be: one
// document in YAML or JSON, of format version 1. It is read strictly, and every
// mistake in it is named at once, with its place, what was found and what is
// wanted. From a document come the parts of the manifest that an agent is told.
//
// It reads and writes nothing: the same document gives the same definition, and the
// definition the same identifiers, so that what agents report of a script or an
// app stays with it over changes of the rest.
package define
