// Package hosts keeps a section of ours in a hosts file, for systems without
// split DNS, and takes it out again without a trace.
//
// The section is found on byte level between two marker lines; everything
// outside of it is somebody else's and stays as it is, byte by byte: removing
// what was added gives the file of before, whatever was in it. [Remove] is pure,
// as is what adds the section; a [File] has them applied to it, atomically where
// the file system allows it; a [Writer] does so in the background and outlasts
// programs that hold or guard the file.
package hosts
